"""Pictures with few objects first, then all: a stateless curriculum.

With records sorted by their number of boxes, a step draws from the first `pool(step)` of them.
Foreign captions come from the same pool, or the
number of objects in a text would tell whether it belongs to the picture.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from vlp_fast.data.order import SampleOrder
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset

WINDOW = 8
"""Batches that are drawn to find one of similar aspect."""


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """How many of the easiest records each step may see.

    Attributes:
        box_counts: number of boxes of each record, ascending.
        steps: the curriculum's length; after it every record may be seen.
    """

    box_counts: tuple[int, ...]
    steps: int

    def pool(self, step: int) -> int:
        """How many records a step may see: those with at most n boxes, n growing linearly."""
        if step >= self.steps:
            return len(self.box_counts)
        hardest = 1 + (self.box_counts[-1] - 1) * step / self.steps
        return max(bisect.bisect_right(self.box_counts, hardest), min(64, len(self.box_counts)))

    def wrap(self, order: SampleOrder) -> SampleOrder | CurriculumOrder:
        """The order, but for steps of the curriculum, which draw from their pool."""
        return CurriculumOrder(order=order, curriculum=self) if self.steps else order


@dataclass(frozen=True, kw_only=True)
class CurriculumOrder:
    """A sample order that draws from the curriculum's pool as long as it lasts."""

    order: SampleOrder
    curriculum: Curriculum

    def batch(self, step: int) -> tuple[int, list[int]]:
        """The epoch that keys all random draws, and the indices of a step.

        A step of the curriculum draws some batches from its pool and takes one whose images are of
        similar aspect. Images come again before all have been seen; so that their pairs and masks
        differ, each such step is an epoch of its own.
        """
        length, size = self.curriculum.steps, self.order.batch_size
        if step >= length:
            epoch, indices = self.order.batch(step)
            return length + epoch, indices
        draw = generator(self.order.seed, 0, step, "curriculum")
        window = self.order.draw_from(self.curriculum.pool(step), WINDOW * size, draw)
        return step, self.order.by_aspect(window, draw)[:size].tolist()


def easiest_first(dataset: Dataset) -> Dataset:
    """The same records sorted by their number of boxes."""
    order = np.argsort(dataset.table.box_counts, kind="stable").tolist()
    return dataset.selected(order)
