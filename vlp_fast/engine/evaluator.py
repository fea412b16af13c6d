"""Held-out evaluation: the task's own figures, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

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


@torch.no_grad()
def submit(experiment: Experiment, path: Path, say: Callable[[str], None]) -> None:
    """Write the task's answers to the held-out samples, whole or not at all.

    Raises:
        InputError: if the task has none, or its split is not one that anybody scores.
    """
    experiment.learner.eval()
    experiment.task.submit(experiment.held_out(), path, say)
