"""The first shards of a run, from which an objective may begin, shared by the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from vlp_fast.engine.experiment import Experiment
from vlp_fast.tasks.inputs import Inputs
from vlp_fast.tasks.sharing import shared
from vlp_fast.tasks.task import Objective

T = TypeVar("T")


class FirstBatches:
    """The first shards as an objective makes them, on the device.

    Args:
        experiment: whose data these are of.
        objective: that makes batches of them.
        visit: called at each batch, by all processes equally often: all may stop there.
    """

    def __init__(
        self,
        experiment: Experiment,
        objective: Objective,
        visit: Callable[[], None] = lambda: None,
    ) -> None:
        self._experiment = experiment
        self._objective = objective
        self._visit = visit

    def __call__(self, count: int) -> Iterator[Inputs]:
        """So many of them; every process has all."""
        for inputs in self._made(range(count)):
            self._visit()
            yield inputs

    def measured(self, count: int, measure: Callable[[Any], T]) -> Iterator[T]:
        """What `measure` finds in each of them, in their order; the processes share the shards.

        Who iterates may stop early, where all processes do so after the same result.
        """
        # Results are exchanged at once: where a few shards are enough, no other is computed.
        return shared(
            self._experiment.world, count, self._made, measure, visit=self._visit, rounds=1
        )

    def _made(self, numbers: range) -> Iterator[Inputs]:
        return self._experiment.shards(self._objective, numbers)
