"""What a run would be, before a GPU is booked: `vlp-fast train RECIPE ... --dry-run`.

Data are read and the model is built, nothing is trained or written. Numbers of bytes are counted
from the tensors that there are; activations, which a step needs besides, are not estimated. Of
several processes, what they send one another is noted while one of them makes a few small steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.engine.optim import build_optimizers
from vlp_fast.engine.rehearsal import rehearse
from vlp_fast.engine.shares import ShardShare
from vlp_fast.engine.world import World
from vlp_fast.layers.gathered_units import gathered_units

MIB = 2**20


def dry_run(run: RunConfig, recipe: RunConfig) -> Iterator[str]:
    """Lines about a run.

    Args:
        run: what is asked for.
        recipe: the configuration that it was made from.

    Raises:
        InputError: what training would refuse about data and settings.
    """
    experiment = build_experiment(run)
    experiment.task.held_out_examples.look(experiment.held_out().indices)
    yield from _settings(run, recipe)
    yield from _data(experiment)
    yield from _phases(experiment)
    yield from _memory(experiment)
    yield from _processes(experiment)
    if run.train.processes > 1:
        yield from rehearse(experiment)


def _settings(run: RunConfig, recipe: RunConfig) -> Iterator[str]:
    yield f"recipe {run.name}"
    asked, usual = (dict(_flat(dataclasses.asdict(config))) for config in (run, recipe))
    for name, value in asked.items():
        if name in usual and usual[name] != value:
            yield f"  {name}: {_shown(value)}, in the recipe {_shown(usual[name])}"


def _data(experiment: Experiment) -> Iterator[str]:
    task = experiment.task
    yield f"data: {len(task.train)} {task.samples} for training, {len(task.held_out)} held out"
    yield from (f"  {note}" for note in experiment.notes)
    for loaded in task.loaded:
        yield f"  {loaded}"


def _phases(experiment: Experiment) -> Iterator[str]:
    train = experiment.run.train
    yield (
        f"steps: {experiment.total_steps}, of {train.shards} shards of {train.batch_size} "
        f"{experiment.task.samples}; {experiment.steps_per_epoch:.1f} an epoch"
    )
    for phase in experiment.phases:
        backbone = experiment.learner.model.backbone
        frozen = backbone.num_stages if phase.frozen_stages is None else phase.frozen_stages
        what = type(phase.objective).__name__
        yield f"  {phase.start} to {phase.end}: {what}, {frozen} stages of the CNN frozen"


def _memory(experiment: Experiment) -> Iterator[str]:
    learner, train = experiment.learner, experiment.run.train
    is_sharded = train.reduction == "sharded"
    moved = _moved(experiment, train.processes if is_sharded else 1)
    buffers = _bytes(learner.buffers())
    parts = {
        "weights": moved["weights"],
        "gradients": moved["weights"],
        "optimisers": moved["optimisers"],
        "average": moved["average"],
        "buffers twice": 2 * buffers,
        "whole for a while": 2 * _gathered(learner) if is_sharded else 0,
    }
    saved = sum(_moved(experiment).values()) + buffers * (2 if train.ema else 1)
    count, of_cnn = (
        sum(p.numel() for p in module.parameters()) for module in (learner, learner.model.backbone)
    )
    yield f"parameters: {count / 1e6:.2f} M, of which the CNN's {of_cnn / 1e6:.2f} M"
    listed = ", ".join(f"{name} {size / MIB:.0f}" for name, size in parts.items() if size)
    total = sum(parts.values()) / MIB
    yield f"memory of a process without activations: {total:.0f} MiB ({listed})"
    yield f"a checkpoint: {saved / MIB:.0f} MiB"


def _moved(experiment: Experiment, processes: int = 1) -> dict[str, int]:
    """Bytes that a step moves, whole or as much as one of several processes has at most."""
    optim, train = experiment.run.optim, experiment.run.train
    others, backbone = (
        _bytes((p for group in optimizer.param_groups for p in group["params"]), processes)
        for optimizer in build_optimizers(experiment.learner, optim)
    )
    state = 2 * others + (1 if optim.backbone_optimizer == "sgd" else 2) * backbone
    weights = others + backbone
    return {"weights": weights, "optimisers": state, "average": weights if train.ema else 0}


def _processes(experiment: Experiment) -> Iterator[str]:
    run = experiment.run
    count, shards = run.train.processes, run.train.shards
    order = experiment.task.order(experiment.order)
    for rank in dict.fromkeys((0, count - 1)):
        share = ShardShare(range(1), shards, World(rank=rank, count=count))
        shown = [str(order.batch(number)[1][:3])[1:-1] for number in (share[0], share[-1])]
        yield (
            f"process {rank} of {count}: shards {share[0]} to {share[-1]} of the first step, with "
            f"samples {shown[0]}, ... to {shown[1]}, ..."
        )


def _gathered(learner: nn.Module) -> int:
    """Bytes of the weights that are whole at once in a step of sharded ones."""
    apart = [_bytes(unit.parameters()) for unit in gathered_units(learner)]
    return _bytes(learner.parameters()) - sum(apart) + max(apart, default=0)


def _bytes(tensors: Iterable[Tensor], processes: int = 1) -> int:
    """Of tensors, or of the rows that the first of several processes has, which are most."""
    rows = (x if x.dim() else x[None] for x in tensors)
    return sum(-(-len(x) // processes) * x[:1].numel() * x.element_size() for x in rows)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
