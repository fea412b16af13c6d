"""Cases that differ in one number only, as curves over it.

A name says its sizes as a letter with a number (`assign-N4096-K2048-D768`). Cases of one dtype,
direction and state of the cache whose names agree in all but one such number are a sweep over it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .comparison import Comparison, is_measured
from .ledger import Row

FEWEST = 3
"""Cases from which a curve is worth a look."""
SIZE = re.compile(r"(?<![A-Za-z0-9])([A-Z])(\d+)(?![A-Za-z0-9])")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Cases over one of their sizes, from small to large."""

    letter: str
    title: str
    """The name that they share, without the size; dtype and state of the cache."""
    cases: Mapping[int, Comparison]
    """By size."""

    @property
    def cache(self) -> str:
        """The state of the cache, the same in all cases; empty on a CPU."""
        return next(iter(self.cases.values())).cache

    def curves(self) -> dict[str, tuple[list[int], list[Row]]]:
        """Sizes and rows of each provider that was measured at several, as they come."""
        found: dict[str, tuple[list[int], list[Row]]] = {}
        for size, comparison in self.cases.items():
            for row in filter(is_measured, comparison.rows):
                sizes, rows = found.setdefault(row["provider"], ([], []))
                sizes.append(size)
                rows.append(row)
        return {name: curve for name, curve in found.items() if len(curve[0]) > 1}


def sweeps(found: Sequence[Comparison]) -> list[Sweep]:
    """The sweeps among cases of one operator, in the order of their first cases."""
    groups: dict[tuple[str, ...], dict[int, Comparison]] = {}
    for comparison in found:
        row = comparison.rows[0]
        kind = (row["direction"], row["dtype"], comparison.cache)
        for match in SIZE.finditer(comparison.case):
            rest = comparison.case[: match.start()] + comparison.case[match.end() :]
            key = (rest.replace("--", "-").strip("-"), match[1], *kind)
            groups.setdefault(key, {})[int(match[2])] = comparison
    return [
        Sweep(
            letter=letter,
            title=f"{name} ({', '.join(filter(None, kind))})",
            cases=dict(sorted(cases.items())),
        )
        for (name, letter, *kind), cases in groups.items()
        if len(cases) >= FEWEST
    ]
