"""The papers' factors beside those that were measured.

Source: SOHO, section 4.5 (464 ms and 44 ms, "about 10 times"); E2E-VLP, Table 4 (501 ms of UNITER
and 192 ms) and Table 6 (by the size of the picture), both on a V100.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .figures import name_of, typical
from .passes import Timed
from .plan import SOHO_SIZE, TABLE_6, TWO_STAGE
from .system import WHOLE, Key

LARGEST = TABLE_6[-1]
LAST_LAYERS = "e2e_vlp_r152_12"
SPEED_UPS = {TABLE_6[0]: 5.0, TABLE_6[1]: 3.0, TABLE_6[2]: 1.5}
OVER_TWO_STAGE = {("soho_r101_12", SOHO_SIZE): 10.0, (LAST_LAYERS, LARGEST): 2.6}
"""By system and size of its pictures."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """How many times as fast one is as the other, on paper and here."""

    fast: str
    slow: str
    paper: float
    here: float
    by_cpu: float
    """By the CPU time of the process, which other processes move less; of no meaning on a GPU."""

    def __str__(self) -> str:
        """A line for a person."""
        return (
            f"{self.fast} over {self.slow}: paper {self.paper:g}x, here {self.here:.2f}x "
            f"({self.by_cpu:.2f}x by CPU time)"
        )


def claims(found: Sequence[Timed]) -> list[Claim]:
    """Those of the papers whose two sides were measured."""
    by_name = {(one.plan.system, one.plan.size): one for one in found}
    return [*_over_two_stage(by_name), *_by_size(by_name)]


ByName = dict[tuple[str, tuple[int, int]], Timed]


def _over_two_stage(by_name: ByName) -> Iterator[Claim]:
    """One for each way of the baseline."""
    slow = by_name.get((TWO_STAGE, SOHO_SIZE))
    for name, paper in OVER_TWO_STAGE.items():
        fast = by_name.get(name)
        if slow is not None and fast is not None:
            for way in slow.system.tails:
                yield _claim(fast, slow, way, paper)


def _by_size(by_name: ByName) -> Iterator[Claim]:
    """Of each model over itself on the largest pictures."""
    for (system, size), fast in by_name.items():
        slow = by_name.get((system, LARGEST))
        if slow is not None and size in SPEED_UPS:
            yield _claim(fast, slow, "", SPEED_UPS[size])


def _claim(fast: Timed, slow: Timed, way: str, paper: float) -> Claim:
    behind, ahead = typical(slow, Key(way, WHOLE)), typical(fast, Key("", WHOLE))
    return Claim(
        fast=_named(fast, ""),
        slow=_named(slow, way),
        paper=paper,
        here=behind.seconds / ahead.seconds,
        by_cpu=behind.cpu / ahead.cpu,
    )


def _named(timed: Timed, way: str) -> str:
    return f"{name_of(timed.plan, way)} {timed.plan.size[0]}x{timed.plan.size[1]}"
