"""Ranges of settings, checked where a configuration is made (torch-free).

A configuration says so in its `__post_init__`: `check(self, POSITIVE, "lr", "eps")`. NaN is in no
range, and infinity in none either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Numbers that a setting may have, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


POSITIVE = Range("a positive number", lambda x: 0 < x < math.inf)
NOT_NEGATIVE = Range("0 or a positive number", lambda x: 0 <= x < math.inf)
AT_LEAST_ONE = Range("1 or more", lambda x: 1 <= x < math.inf)
SHARE = Range("0 to 1", lambda x: 0 <= x <= 1)
BELOW_ONE = Range("0 or more and less than 1", lambda x: 0 <= x < 1)
BETWEEN_ZERO_AND_ONE = Range("more than 0 and less than 1", lambda x: 0 < x < 1)


def at_least(smallest: int) -> Range:
    """The range from a number upwards."""
    return Range(f"{smallest} or more", lambda x: smallest <= x < math.inf)


def check(config: object, expected: Range, *names: str) -> None:
    """Compare fields with a range: numbers, each number of a tuple; None is not compared.

    Raises:
        ValueError: for the first field outside; names configuration, field and value.
    """
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if not expected.holds(number):
                raise ValueError(
                    f"{type(config).__name__}: received {name} = {value}, expected {expected.words}"
                )
