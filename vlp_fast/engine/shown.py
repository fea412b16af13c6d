"""The samples that a run has shown, over all processes: how many, and which were replaced."""

from __future__ import annotations

from itertools import chain

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
        replaced: the counts after the latest `settle`.
    """

    def __init__(self, world: World, replaced: Replaced) -> None:
        self._world = world
        self.replaced = replaced
        self._steps: list[list[tuple[int, tuple[str, ...]]]] = []
        self._shards: list[tuple[int, tuple[str, ...]]] = []

    def add(self, inputs: Inputs) -> None:
        """A shard of the step in progress."""
        self._shards.append((len(inputs.image_ids), inputs.problems))

    def end_step(self) -> None:
        """The step is whole: its samples count."""
        self._steps.append(self._shards)
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
        of_ranks = self._world.all_values(self._steps)
        self._steps = []
        problems: list[str] = []
        for of_step in zip(*of_ranks, strict=True):
            for samples, broken in chain(*of_step):
                problems += broken
                self.replaced = self.replaced.after(samples, len(broken))
                self.replaced.check(data, step)
        return problems
