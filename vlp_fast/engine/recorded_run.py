"""From a run folder back to its configuration (torch-free)."""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vlp_fast.engine.config import E2EVLPRun, SohoRun
from vlp_fast.errors import InputError


def restore_run(folder: Path) -> E2EVLPRun | SohoRun:
    """The configuration that the folder's run.json records.

    Raises:
        InputError: if the folder holds no run, or one of a version with other fields.
    """
    path = folder / "run.json"
    try:
        values = json.loads(path.read_text())["config"]
        kind: type[E2EVLPRun | SohoRun] = SohoRun if "num_codes" in values["model"] else E2EVLPRun
    except OSError as error:
        raise InputError(
            f"{folder}: no readable run.json ({error.strerror}); expected a run folder"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{folder}: no readable run.json; expected a run folder") from None
    try:
        run = _rebuild(kind, {**values, "run_dir": str(folder)})
    except (TypeError, ValueError, LookupError) as error:
        raise InputError(f"{path}: was written by another version ({error})") from None
    assert isinstance(run, SohoRun | E2EVLPRun)
    return run


def _rebuild(kind: Any, value: Any) -> Any:
    """Turn json values back into the dataclasses, tuples and paths they were."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"{kind.__name__} is {type(value).__name__}, expected an object")  # type: ignore[union-attr]
        hints = get_type_hints(kind)
        return kind(**{name: _rebuild(hints[name], inner) for name, inner in value.items()})  # type: ignore[operator]
    options = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        fitting = [o for o in options if o is not type(None) and _fits(o, value)]
        return _rebuild(fitting[0], value)
    if get_origin(kind) is tuple:
        return tuple(_rebuild(options[0], inner) for inner in value)
    if get_origin(kind) is Literal and value not in options:
        raise ValueError(f"{value!r:.60} is none of {', '.join(map(repr, options))}")
    return Path(value) if kind is Path else value


def _fits(kind: Any, value: Any) -> bool:
    return isinstance(value, list) == (get_origin(kind) is tuple)
