"""A step repeated with the same samples, masks, dropout and weights, looking at every module.

Shards are the unit: each is computed by itself, whichever process computed it. Nothing moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.kept_buffers import KeptBuffers
from vlp_fast.engine.module_watch import ModuleWatch, Seen
from vlp_fast.engine.updater import shard_seed
from vlp_fast.layers.shard_statistics import ShardStatistics
from vlp_fast.tasks.inputs import Inputs
from vlp_fast.tasks.task import Objective


@dataclass(frozen=True, kw_only=True)
class Which:
    """A step of a run.

    Attributes:
        step: counted as the log does, from 1.
        position: in the order of the samples, from 0: the step before it, but after a rollback.
        scale: that its losses are multiplied by.
    """

    step: int
    position: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard of a step as it was found.

    Attributes:
        number: within the step.
        seed: of its dropout.
        samples: their ids.
        problems: what was wrong with samples that were replaced.
        losses: by name.
        norm: of its gradients, without the scale.
        seen: what modules gave, in the order of time.
    """

    number: int
    seed: int
    samples: tuple[int | str, ...]
    problems: tuple[str, ...]
    losses: dict[str, float]
    norm: float
    seen: tuple[Seen, ...]

    @property
    def first(self) -> Seen | None:
        """What was not finite first; None if everything was."""
        return next((seen for seen in self.seen if seen.summary.non_finite), None)


def rerun(experiment: Experiment, which: Which, numbers: Sequence[int]) -> list[Shard]:
    """Compute shards of a step again; the learner is left as it is, in training mode.

    Args:
        experiment: whose learner has the weights, and the frozen parts, of the step.
        which: the step.
        numbers: of the shards.
    """
    learner, device = experiment.learner, experiment.precision.device
    buffers = KeptBuffers(learner)
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    # What was compiled has no modules to look at.
    with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
        learner.train()
        buffers.keep()
        try:
            batches = _batches(experiment, which, numbers)
            pairs = zip(numbers, batches, strict=True)
            return [_shard(experiment, which, number, inputs) for number, inputs in pairs]
        finally:
            _forget_gradients(learner)
            buffers.put_back()
            learner.train()


def _objective(experiment: Experiment, which: Which) -> Objective:
    return experiment.phase(which.step - 1).objective


def _batches(experiment: Experiment, which: Which, numbers: Sequence[int]) -> Iterator[Inputs]:
    """In this process: a few batches are not worth others."""
    run = experiment.run
    here = replace(experiment, run=replace(run, data=replace(run.data, num_workers=0)))
    of_run = [which.position * run.train.shards + number for number in numbers]
    return here.shards(_objective(experiment, which), of_run)


def _shard(experiment: Experiment, which: Which, number: int, inputs: Inputs) -> Shard:
    learner, train = experiment.learner, experiment.run.train
    statistics = ShardStatistics(learner)
    seed = shard_seed(train.seed, which.position, number)
    _forget_gradients(learner)
    torch.manual_seed(seed)
    statistics.begin(number, train.shards)
    with ModuleWatch(learner, len(inputs.image_ids)) as watch:
        with experiment.precision.autocast():
            output = learner(_objective(experiment, which), inputs)
        watch.losses(output.losses)
        (output.total * (which.scale / train.shards)).backward()
        watch.weights()
    taken = statistics.take()
    watch.statistics(statistics.names, taken)
    gradients = [p.grad for p in learner.parameters() if p.grad is not None]
    return Shard(
        number=number,
        seed=seed,
        samples=inputs.image_ids,
        problems=inputs.problems,
        losses={name: float(loss.detach()) for name, loss in output.losses.items()},
        norm=float(nn.utils.get_total_norm(gradients)) / which.scale,
        seen=tuple(watch.seen),
    )


def _forget_gradients(learner: nn.Module) -> None:
    for parameter in learner.parameters():
        parameter.grad = None
