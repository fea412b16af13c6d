"""What a kind of swap is: which modules it knows, why it leaves one alone, how it is undone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from vlp_fast.errors import InputError


def nothing_to_say() -> str:
    """Returns what a change says of the calls since: nothing."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What became of one module."""

    became: str
    """In words, for the report."""
    undo: Callable[[], None]
    """Gives the module back as it was."""
    since: Callable[[], str] = nothing_to_say
    """What happened in calls since, in words; empty if nothing did."""


class Swap(Protocol):
    """One kind of module of another library."""

    def knows(self, module: nn.Module) -> bool:
        """Whether this kind says anything of a module; the rest of a model is not reported."""

    def refusal(self, module: nn.Module) -> str:
        """Why a module that it knows is left alone; empty if it is not."""

    def apply(self, module: nn.Module) -> Change:
        """Makes ours of the instance."""


def become(module: nn.Module, cls: type[nn.Module], **attributes: Any) -> Callable[[], None]:
    """Gives an instance another class, a subclass of its own, and some attributes.

    So names and identity of parameters, buffers and children, hooks and `isinstance` stay.

    Args:
        module: the instance.
        cls: what it becomes.
        attributes: that the class needs and the instance had none of.

    Returns:
        What undoes it. It raises InputError if the instance has another class by then.
    """
    before = type(module)

    def undo() -> None:
        if type(module) is not cls:
            raise InputError(
                f"restore: a {cls.__name__} has become {type(module).__name__} since, expected no "
                "other change of its class; undo that one first (fully_shard makes such ones)"
            )
        module.__class__ = before
        for name in attributes:
            del module.__dict__[name]

    module.__dict__.update(attributes)
    module.__class__ = cls
    return undo


def own(module: nn.Module, name: str, value: Any) -> Callable[[], None]:
    """Gives an instance an attribute of its own, which stands in front of its class's.

    Returns:
        What undoes it. It raises InputError if the attribute is another by then.
    """

    def undo() -> None:
        if vars(module).get(name, value) is not value:
            raise InputError(
                f"restore: {name} of a {type(module).__name__} has been set since, expected no "
                f"other change of it; delete it first (`del model.{name}`)"
            )
        module.__dict__.pop(name, None)

    module.__dict__[name] = value
    return undo


def undo_all(undos: list[Callable[[], None]]) -> None:
    """Calls what undoes changes, the last one first.

    What has been called leaves the list, so that after an error a second try goes on.
    """
    while undos:
        undos[-1]()
        undos.pop()


def count(told: Counter[str], reason: str) -> None:
    """Notes that a call went to the original code; inside of a compiled graph nobody counts."""
    if not torch.compiler.is_compiling():
        told[reason] += 1


def in_words(told: Counter[str]) -> str:
    """Says which calls went to the original code."""
    calls = [f"{number} for {reason}" for reason, number in told.items()]
    return f"calls by the original code: {', '.join(calls)}" if calls else ""
