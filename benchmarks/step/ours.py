"""The side of ours: the engine's loader and `Updater`, as the trainer calls them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.engine.first_batches import FirstBatches
from vlp_fast.engine.updater import Updater
from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.inputs import Inputs

Figures = dict[str, float]


class Ours:
    """A run in progress.

    Args:
        run: whose steps are done.
    """

    def __init__(self, run: RunConfig) -> None:
        torch.manual_seed(run.train.seed)
        self._experiment = build_experiment(run)
        self._learner = self._experiment.learner.train()
        self._updater = Updater(self._experiment)
        phase = self._experiment.phase(0)
        self._objective = phase.objective
        runtime = self._experiment.precision
        first = FirstBatches(self._experiment, self._objective)
        self._objective.begin(self._learner, first, runtime)
        self._updater.end_phase()
        backbone = self._learner.model.backbone
        stages = backbone.num_stages if phase.frozen_stages is None else phase.frozen_stages
        backbone.freeze(stages)
        self._batches = self._experiment.batches(0, self._experiment.total_steps)
        self._step, self._pairs, self._averages = 0, 0, Averages()

    @property
    def experiment(self) -> Experiment:
        """Its data, model and precision."""
        return self._experiment

    def step(self) -> int:
        """Do the next step; returns the pairs in it."""
        self._averages.add_all(self._updater.update(self._step, self._objective, self._shards()))
        self._updater.end()
        self._step += 1
        return self._pairs

    def losses(self) -> Figures:
        """Means since the last call; waits for the device."""
        found = self._averages.means()
        self._averages = Averages()
        names = ("mlm", "mvm", "itm", "detection", "captioning")
        return {name: found[name] for name in names if name in found}

    def _shards(self) -> Iterator[Inputs]:
        """The one of a step, on the device."""
        inputs: Any = next(self._batches)[1]
        self._pairs = inputs.is_matched.numel()
        yield inputs.to(self._experiment.precision.device)
