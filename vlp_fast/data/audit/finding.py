"""One line of the table: what was found, how often, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["refused", "replaced", "leaked", "left out", "told"]
LEVELS: dict[Level, str] = {
    "refused": "a run does not begin",
    "replaced": "a run shows other pictures in their place",
    "leaked": "what is measured on is trained on",
    "left out": "reading leaves it out",
    "told": "a run copes with it",
}
"""The worst first, and what each means for a run."""
SPOILS: tuple[Level, ...] = ("refused", "replaced")
"""Levels that make a check fail."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Things of one kind.

    Attributes:
        level: what becomes of them in a run.
        count: how many.
        what: what they are; reads after the number.
        where: the split or splits that have them.
        examples: names; all that are known.
        remedy: what to do.
    """

    level: Level
    count: int
    what: str
    where: str
    examples: tuple[str, ...] = ()
    remedy: str

    @property
    def spoils_training(self) -> bool:
        """Whether a run refuses them or shows others in their place."""
        return self.level in SPOILS

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts the worst and the most to the front."""
        return list(LEVELS).index(self.level), -self.count
