"""Held-out evaluation: the task's own figures, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch

from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.world import together
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.task import Figures


@torch.no_grad()
def evaluate(
    experiment: Experiment,
    report: Callable[[Iterable[str]], None] = lambda _: None,
    visit: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    folder: Path | None = None,
) -> Figures:
    """Every held-out figure of the run; the learner is left in the mode it was in.

    All processes call this together and have the same figures, those of a single one.

    Args:
        experiment: whose learner is measured.
        report: gets a line for each held-out sample that is broken and replaced.
        visit: called at each batch, by all processes equally often: all may stop there.
        progress: gets how many of how many parts of a long measurement are done.
        folder: where such a one keeps what is done until it is whole; None keeps nothing.
    """
    held_out = replace(experiment.held_out(report, visit), progress=progress, folder=folder)
    return _measured(experiment, held_out)


@torch.no_grad()
def evaluate_parts(
    experiment: Experiment, visit: Callable[[], None] = lambda: None
) -> list[tuple[str, Figures]]:
    """Where the held-out samples are a mixture: what each data set's are, and figures of them.

    The same samples are shown once more, each data set by itself.
    """
    parts = experiment.held_out(visit=visit).parts()
    return [(part.described(), _measured(experiment, part)) for part in parts]


@torch.no_grad()
def submit(experiment: Experiment, path: Path, say: Callable[[str], None]) -> None:
    """Write the task's answers to the held-out samples, whole or not at all.

    All processes call this together; the first of them writes.

    Raises:
        InputError: if the task has none, or its split is not one that anybody scores.
    """
    experiment.learner.eval()
    with together(experiment.world):
        experiment.task.submit(experiment.held_out(), path, say)


def _measured(experiment: Experiment, held_out: HeldOut) -> Figures:
    learner = experiment.learner
    was_training = learner.training
    learner.eval()
    figures = experiment.task.figures(held_out)
    learner.train(was_training)
    return figures
