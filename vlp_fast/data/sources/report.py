"""What a reader leaves out: counted by reason, shown once, never silently."""

from __future__ import annotations

from vlp_fast.data.printable import printable
from vlp_fast.data.records import LeftOut

KEPT = 1000
"""Examples of each kind: enough to repair a file by, and no burden where millions are dropped."""


class DataReport:
    """Counts of dropped things with the first ones of each kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def count(self, reason: str, which: object) -> None:
        """Count one more; `reason` reads after a number, as in "3 empty captions dropped"."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < KEPT:
            examples.append(printable(which)[:100])

    def lines(self) -> tuple[str, ...]:
        """One line for each reason, in the order they came up."""
        return tuple(
            f"{what.count} {what.reason} (the first: {what.examples[0]})"
            for what in self.left_out()
        )

    def left_out(self) -> tuple[LeftOut, ...]:
        """The counts, in the same order."""
        return tuple(
            LeftOut(reason=reason, count=count, examples=tuple(self._examples[reason]))
            for reason, count in self._counts.items()
        )
