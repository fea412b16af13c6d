"""Values of one type inside of records: dataclasses, dictionaries, tuples and lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")


def changed(value: Any, kind: type[T], change: Callable[[T], Any]) -> Any:
    """The value with every part of a type changed; containers and records are new ones.

    Records are dataclasses; their fields without `init` are made anew by the record itself.
    """
    if isinstance(value, kind):
        return change(value)
    if _is_record(value):
        held = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        return replace(value, **{name: changed(part, kind, change) for name, part in held.items()})
    if isinstance(value, dict):
        return {name: changed(part, kind, change) for name, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(changed(part, kind, change) for part in value)
    return value


def parts_of(value: Any, kind: type[T]) -> Iterator[T]:
    """The parts of a type."""
    if isinstance(value, kind):
        yield value
        return
    inner: Any = ()
    if _is_record(value):
        inner = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, tuple | list):
        inner = value
    for part in inner:
        yield from parts_of(part, kind)


def _is_record(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)
