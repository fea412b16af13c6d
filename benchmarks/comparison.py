"""Rows of the ledger that ran side by side: ours, and each peer's time beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .case import OURS
from .ledger import QUICK, Row

QUIET = 0.05
"""Share of the CPUs that other processes may take before a table says so."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The providers of a case that ran side by side, ours first, with one state of the cache."""

    case: str
    cache: str
    rows: Sequence[Row]

    @property
    def title(self) -> str:
        """The case, and the state of the cache on a GPU."""
        kind = [self.rows[0]["direction"], self.rows[0]["dtype"], self.cache]
        others = float(self.rows[0]["others_cpu"] or 0)
        busy = f", others took {others:.0%} of the CPUs" if others > QUIET else ""
        quick = ", a quick run: figures mean little" if self.is_quick else ""
        return f"{self.case} ({', '.join(filter(None, kind))}{busy}{quick})"

    @property
    def is_quick(self) -> bool:
        """Whether it only shows that everything runs."""
        return any(row["note"] == QUICK for row in self.rows)


def comparisons(rows: Iterable[Row]) -> list[Comparison]:
    """The latest run of each case in the order of the ledger, a comparison for each cache state.

    A quick run counts only where there is no other.
    """
    cases: dict[tuple[str, ...], dict[str, list[Row]]] = {}
    for row in rows:
        key = tuple(row[column] for column in ("device", "operator", "case", "direction", "dtype"))
        cases.setdefault(key, {}).setdefault(row["date"], []).append(row)
    latest = (max(runs.values(), key=_rank) for runs in cases.values())
    return [comparison for run in latest for comparison in _by_cache(run)]


def ratio(row: Row, rows: Sequence[Row]) -> float | None:
    """How many times the time of ours a provider takes; `None` for ours and what has no time."""
    ours = next((other for other in rows if other["provider"] == OURS), None)
    if ours is None or row is ours or not row["median_us"] or not ours["median_us"]:
        return None
    return float(row["median_us"]) / float(ours["median_us"])


def is_measured(row: Row) -> bool:
    """Whether a row has figures; if not, its note says why."""
    return bool(row["median_us"])


def is_ours(row: Row) -> bool:
    """Whether a row is of our default or another backend."""
    return row["provider"].split()[0] == OURS


def _rank(run: Sequence[Row]) -> tuple[bool, str]:
    return not any(row["note"] == QUICK for row in run), run[0]["date"]


def _by_cache(run: Sequence[Row]) -> list[Comparison]:
    states = list(dict.fromkeys(row["cache"] for row in run if is_measured(row))) or [""]
    return [
        Comparison(
            case=run[0]["case"],
            cache=state,
            rows=[row for row in run if not is_measured(row) or row["cache"] == state],
        )
        for state in states
    ]
