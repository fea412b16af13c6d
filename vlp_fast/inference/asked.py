"""Which pictures go with which texts: one with one, one with many, many with one, pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
ONE = (str, bytes, bytearray, memoryview)
"""Sequences that are one thing."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Pairs of what was given.

    Attributes:
        firsts, seconds: things, each once.
        first_of, second_of: of each pair, the number of its things.
        is_one: whether the answer is one, not a list.
    """

    firsts: list[Any]
    seconds: list[Any]
    first_of: list[int]
    second_of: list[int]
    is_one: bool

    def given(self, answers: Sequence[T]) -> T | list[T]:
        """The answers to all pairs, as they were asked for: one, or a list."""
        return answers[0] if self.is_one else list(answers)


def listed(things: Any) -> tuple[list[Any], bool]:
    """Things as a list, and whether it was one thing: a list or a tuple holds several."""
    several = isinstance(things, list | tuple) and not isinstance(things, ONE)
    return (list(things), False) if several else ([things], True)


def paired(first: Any, second: Any, names: tuple[str, str]) -> Asked:
    """Pair things: one with each of several, or several with as many.

    Raises:
        ValueError: for lists of different lengths, naming them.
    """
    firsts, first_is_one = listed(first)
    seconds, second_is_one = listed(second)
    is_one = first_is_one and second_is_one
    if not first_is_one and not second_is_one and len(firsts) != len(seconds):
        raise ValueError(
            f"received {len(firsts)} {names[0]} and {len(seconds)} {names[1]}, expected as many of "
            "either, or one of either"
        )
    count = len(seconds) if first_is_one else len(firsts)
    return Asked(
        firsts=firsts,
        seconds=seconds,
        first_of=[0] * count if first_is_one else [*range(count)],
        second_of=[0] * count if second_is_one else [*range(count)],
        is_one=is_one,
    )


def every_pair(first: Any, second: Any) -> Asked:
    """Pair each thing with every other."""
    firsts, first_is_one = listed(first)
    seconds, second_is_one = listed(second)
    return Asked(
        firsts=firsts,
        seconds=seconds,
        first_of=[place for place in range(len(firsts)) for _ in seconds],
        second_of=[*range(len(seconds))] * len(firsts),
        is_one=first_is_one and second_is_one,
    )
