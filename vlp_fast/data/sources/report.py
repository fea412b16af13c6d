"""What a reader leaves out: counted by reason, shown once, never silently."""

from __future__ import annotations

from vlp_fast.data.printable import printable


class DataReport:
    """Counts of dropped things with the first one of each kind."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def count(self, reason: str, which: object) -> None:
        """Count one more; `reason` reads after a number, as in "3 empty captions dropped"."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        if reason not in self._first:
            self._first[reason] = printable(which)[:100]

    def lines(self) -> tuple[str, ...]:
        """One line for each reason, in the order they came up."""
        return tuple(
            f"{count} {reason} (the first: {self._first[reason]})"
            for reason, count in self._counts.items()
        )
