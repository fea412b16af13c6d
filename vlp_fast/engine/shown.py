"""The samples that a run has shown, over all processes: how many, and which were replaced."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from vlp_fast.data.config import DataConfig
from vlp_fast.engine.replaced import Replaced
from vlp_fast.engine.world import World
from vlp_fast.tasks.inputs import Inputs


class Shown:
    """Counts the shards of this process, and now and then those of all.

    Args:
        world: the processes.
        replaced: the counts so far.

    Attributes:
        replaced: the counts after the latest `settle` or `count`.
    """

    def __init__(self, world: World, replaced: Replaced) -> None:
        self._world = world
        self.replaced = replaced
        self._steps: list[Tensor] = []
        self._problems: list[tuple[str, ...]] = []
        self._shards: list[Inputs] = []

    def add(self, inputs: Inputs) -> None:
        """A shard of the step in progress."""
        self._shards.append(inputs)

    def end_step(self, of_all: Tensor) -> None:
        """The step is whole: its samples count.

        Args:
            of_all: (shards, 2) samples, and replaced ones, of each shard of all processes.
        """
        own = [(len(shard.image_ids), len(shard.problems)) for shard in self._shards]
        # Alone, a process knows them without asking its device.
        self._steps.append(torch.tensor(own) if self._world.count == 1 else of_all)
        self._problems.append(tuple(chain(*(shard.problems for shard in self._shards))))
        self._shards = []

    def drop_step(self) -> None:
        """The step has failed: its samples do not count."""
        self._shards = []

    def settle(self, data: DataConfig, step: int) -> list[str]:
        """Count what all processes have shown since, in the order of the shards.

        Args:
            data: the run's, which says how much may be replaced.
            step: whole steps so far.

        Returns:
            What was wrong with the samples that were replaced.

        Raises:
            InputError: if too many were.
        """
        of_ranks = self._world.all_values(self._problems)
        self._problems = []
        for samples, replaced in self._counts():
            self.replaced = self.replaced.after(samples, replaced)
            self.replaced.check(data, step)
        return [*chain(*chain(*zip(*of_ranks, strict=True)))]

    def count(self) -> None:
        """Count them, too, where no other process is there to be asked what was wrong."""
        for samples, replaced in self._counts():
            self.replaced = self.replaced.after(samples, replaced)

    def _counts(self) -> Iterator[tuple[int, int]]:
        steps, self._steps = self._steps, []
        for samples, replaced in torch.cat(steps).tolist() if steps else ():
            yield int(samples), int(replaced)
