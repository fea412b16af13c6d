"""Held-out evaluation: the task's own figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from vlp_fast.engine.experiment import Experiment

Figures = dict[str, float]


@torch.no_grad()
def evaluate(
    experiment: Experiment, report: Callable[[Iterable[str]], None] = lambda _: None
) -> Figures:
    """Every held-out figure of the run; the learner is left in the mode it was in.

    Held-out samples that are broken are replaced, and `report` gets a line for each.
    """
    learner = experiment.learner
    was_training = learner.training
    learner.eval()
    figures = experiment.task.figures(experiment.held_out(report))
    learner.train(was_training)
    return figures
