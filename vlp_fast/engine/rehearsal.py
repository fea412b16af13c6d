"""What the processes of a run would send one another, found out by one process without a network.

The trainer makes some real steps of each phase as one of the processes, over torch's fake process
group, whose other members say what this one says. Only the pictures are smaller and fewer: weights,
gradients and statistics have their sizes, and so has what is sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist

from vlp_fast.data.images import read_image
from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.collectives import Collective, Collectives, tally
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.phases import Phase
from vlp_fast.engine.precision import Precision
from vlp_fast.engine.standing import Standing
from vlp_fast.engine.trainer import Trainer
from vlp_fast.engine.world import World
from vlp_fast.weights.loaded import Loaded

STEPS = 3
"""Of a phase: DistributedDataParallel cuts its buckets anew after the first that it computes."""
SIDE, SAMPLES = 64, 2
"""Pixels of a picture's shorter side; samples of a shard."""
LINE = "trainer._log"
"""The function that asks for what is sent at a logged line only."""


def rehearse(experiment: Experiment) -> Iterator[str]:
    """Lines about what each process sends, and what for; the learner is trained a little.

    Args:
        experiment: of the run, without its other processes; not to be used afterwards.

    Raises:
        InputError: what training would refuse.
    """
    count = experiment.run.train.processes
    rank = count - 1  # the first one shows and writes
    yield (
        f"sent by process {rank} of {count}, in this order (steps over a fake group, with "
        f"pictures of {SIDE} pixels):"
    )
    with fake_world(rank, count) as world, TemporaryDirectory() as folder:
        for what, calls in sent(smaller(experiment, world, Path(folder))):
            yield from _lines(what, calls)


def sent(experiment: Experiment) -> Iterator[tuple[str, list[Collective]]]:
    """What a process sends on each occasion of a run, whoever the others are.

    Args:
        experiment: as `smaller` makes it.
    """
    with Collectives() as seen:
        trainer = Trainer(experiment)
        trainer.learner.train()
    yield "at the start", seen.calls
    calls: list[Collective] = []
    for phase in experiment.phases:
        calls = _last_step(trainer, phase)
        what = f"a step of {phase.start} to {phase.end} ({type(phase.objective).__name__})"
        yield what, [call for call in calls if LINE not in call.callers]
    yield "a logged line", [call for call in calls if LINE in call.callers]
    with Collectives() as seen:
        trainer.keeper.save(trainer.step, Standing())
    trainer.keeper.join()
    yield "a checkpoint", seen.calls


@contextlib.contextmanager
def fake_world(rank: int, count: int) -> Iterator[World]:
    """This process as one of many that are not there, until the end of the context."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=rank, world_size=count, store=FakeStore())
    try:
        yield World(rank=rank, count=count, host=dist.new_group(backend="fake"))
    finally:
        dist.destroy_process_group()


def smaller(experiment: Experiment, world: World, folder: Path) -> Experiment:
    """The run as one of its processes has it, on the CPU, with small pictures and no first work."""
    run, task = experiment.run, experiment.task
    task.reader = read_image
    task.examples = task.loader(task.train, (SIDE,))
    task.learner.to("cpu")
    if run.resume == "auto" and (found := complete_checkpoints(run.directory)):
        # Whose weights are not read: they do not decide what is sent.
        names = tuple(name for name, _ in task.learner.model.named_parameters())
        own = Loaded(path=found[-1], layout="this run's", loaded=names, left=(), new=())
        task.loaded = (own,)
    train = replace(
        run.train,
        batch_size=min(SAMPLES, run.train.batch_size),
        log_every=1,
        checkpoint_every=0,
        evaluate_every=0,
        watchdog_minutes=0,
        tensorboard=False,
        profile="",
    )
    return replace(
        experiment,
        run=replace(
            run, run_dir=folder, train=train, data=replace(run.data, num_workers=0, decoder="auto")
        ),
        phases=tuple(replace(phase, begins=False) for phase in experiment.phases),
        precision=Precision(device=torch.device("cpu"), dtype=torch.float32),
        world=world,
    )


def _last_step(trainer: Trainer, phase: Phase) -> list[Collective]:
    """What is sent in a step of a phase, and after it, when the first ones are done."""
    last = min(phase.start + STEPS, phase.end)
    batches = trainer.experiment.batches(phase.start, last)
    trainer.step = phase.start
    seen = Collectives()
    while trainer.step < last:
        seen = Collectives()
        with seen:
            trainer.one_step(batches)
    return seen.calls


def _lines(what: str, calls: list[Collective]) -> Iterator[str]:
    yield f"  {what}: {len(calls)} collectives, {_size(sum(call.bytes for call in calls))}"
    for (purpose, operation), (count, size) in tally(calls).items():
        yield f"    {purpose}: {count} x {operation}, {_size(size)}"


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**17 else f"{size:,} B"
