"""From a run's configuration back to its trained model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vlp_fast.engine.checkpoint import load_model, newest_checkpoint, read_state
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.engine.same_data import check_same_data
from vlp_fast.engine.world import ALONE, World
from vlp_fast.errors import InputError
from vlp_fast.weights.checkpoints import AVERAGE, model_file


def restore_experiment(
    run: RunConfig, say: Callable[[str], object] = lambda line: None, world: World = ALONE
) -> Experiment:
    """The run's experiment with the model of its newest complete checkpoint, averaged if it was.

    Its vocabulary is the folder's vocab.txt, wherever it was from when the run began.

    Args:
        run: the configuration.
        say: gets a line if damaged checkpoints were passed over, one if the checkpoint does not
            tell its data, and one if its weights are averaged.
        world: the processes, all of which restore it.

    Raises:
        InputError: if there is no complete checkpoint, the data are others than then, or most of
            the held-out images are broken; those of training are not shown.
    """
    found, experiment = _untrained(run, say, world)
    file = model_file(found).name
    load_model(found, experiment.learner, file)
    if file == AVERAGE:
        say(f"{found.name}: with the average of its weights")
    return experiment


def restore_training(run: RunConfig, say: Callable[[str], object]) -> Experiment:
    """The same with the weights that training goes on with, averaged or not."""
    found, experiment = _untrained(run, say, ALONE)
    load_model(found, experiment.learner)
    return experiment


def _untrained(
    run: RunConfig, say: Callable[[str], object], world: World
) -> tuple[Path, Experiment]:
    """The newest complete checkpoint, and the experiment that it is of, without its weights."""
    found = newest_checkpoint(run.directory, say)
    if found is None:
        raise InputError(f"{run.directory}: no complete checkpoint; train first")
    kept = replace(run, resume="auto", data=replace(run.data, vocabulary=None))
    experiment = build_experiment(kept, world)
    experiment.task.held_out_examples.look(experiment.held_out().indices)
    check_same_data(found, read_state(found), experiment.identity, run.data.root, say)
    return found, experiment
