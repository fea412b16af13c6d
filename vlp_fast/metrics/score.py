"""What all scores have in common, and those that are shares: whole points, which processes add up.

A batch's mean is never taken, so figures depend neither on batches nor on processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Self

from vlp_fast.metrics.example_set import ExampleSet

Figures = dict[str, float]


class Score(ABC):
    """Figures of examples that are counted one by one.

    Attributes:
        examples: what the figures are of.
    """

    def __init__(self) -> None:
        self.examples = ExampleSet()

    @abstractmethod
    def figures(self) -> Figures:
        """Percentages; empty where nothing was added."""

    def merge(self, other: Self) -> None:
        """Add what another process has counted, of other examples."""
        self.examples.merge(other.examples)


class PointScore(Score):
    """Points reached of those possible, under names."""

    def __init__(self) -> None:
        super().__init__()
        self._points: Counter[str] = Counter()
        self._possible: Counter[str] = Counter()

    def merge(self, other: Self) -> None:
        """Add what another process has counted, of other examples."""
        super().merge(other)
        self._points.update(other._points)
        self._possible.update(other._possible)

    def _count(self, name: str, points: int, possible: int = 1) -> None:
        self._points[name] += points
        self._possible[name] += possible

    def _percent(self, name: str) -> float:
        return 100 * self._points[name] / self._possible[name]
