"""What the steps between two logged lines cost: time, memory, operations, compilations."""

from __future__ import annotations

from vlp_fast.engine.clock import Clock
from vlp_fast.engine.compilations import Compilations
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.memory import memory_gib
from vlp_fast.engine.updater import Updater
from vlp_fast.tasks.task import Figures


class Speed:
    """Measures a run from line to line.

    Args:
        experiment: whose steps these are.
        updater: that makes them.

    Attributes:
        clock: since the line before.
    """

    def __init__(self, experiment: Experiment, updater: Updater) -> None:
        self._world, self._precision = experiment.world, experiment.precision
        self._updater = updater
        self._compilations = Compilations(is_on=experiment.run.train.compile)
        self.clock = Clock()

    def begin(self) -> None:
        """A line was written, or the run goes on from an earlier step."""
        self.clock = Clock()

    def figures(self) -> Figures:
        """How fast the steps were and what they took; all processes call together."""
        figures = self.clock.figures(
            self._world,
            memory_gib=memory_gib(self._precision.device),
            operations=self._updater.operations.take(),
            peak=self._precision.peak,
        )
        if self._precision.is_scaled:
            figures["loss_scale"] = self._updater.scaler.get_scale()
        return figures | self._compilations.figures(self._world)
