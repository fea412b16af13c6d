"""Learning rates as a function of a run's step, by its phases."""

from __future__ import annotations

from torch.optim import Optimizer

from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.optim import learning_rate_scale, set_learning_rates


def set_rates_at(optimizers: list[Optimizer], experiment: Experiment, step: int) -> None:
    """Give both optimisers the rates that a step has.

    Args:
        optimizers: of everything but the CNN, of the CNN.
        experiment: whose phases and settings these are.
        step: counted from 0.
    """
    optim, phase = experiment.run.optim, experiment.phase(step)
    scale = learning_rate_scale(
        step - phase.schedule_start,
        config=optim,
        total_steps=phase.schedule_length,
        steps_per_epoch=experiment.steps_per_epoch,
    )
    set_learning_rates(optimizers, scale, config=optim, backbone_scale=phase.backbone_scale)
