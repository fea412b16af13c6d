"""From a configuration to the objects of a run: the task, its phases, its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from vlp_fast.data.decoder import choose_decoder, described
from vlp_fast.data.examples import Example
from vlp_fast.data.order import SampleOrder
from vlp_fast.data.steps import steps_of
from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.notes import split_notes
from vlp_fast.engine.phases import Phase, plan_phases
from vlp_fast.engine.precision import Precision, choose_precision
from vlp_fast.engine.same_data import identify
from vlp_fast.engine.shares import ShardShare
from vlp_fast.engine.world import ALONE, World
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.config import RunLength, TaskSetup
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.inputs import Inputs
from vlp_fast.tasks.task import Learner, Objective, Task


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that training and evaluation share.

    Attributes:
        run: the configuration, with the model's sizes taken from the data.
        task: what is learnt, with its data; its learner is on the device.
        phases: the run's, one behind another.
        precision: device and number format.
        world: the processes that train together.
        identity: what a checkpoint keeps of the data, to be compared with theirs later.
        notes: what a person should know about the data, one line each.
    """

    run: RunConfig
    task: Task
    phases: tuple[Phase, ...]
    precision: Precision
    world: World
    identity: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def learner(self) -> Learner:
        """Model and heads."""
        return self.task.learner

    @cached_property
    def order(self) -> SampleOrder:
        """Which sample is where in which step of training, but for what the task changes."""
        train = self.run.train
        return SampleOrder(
            num_samples=len(self.task.train),
            batch_size=train.batch_size,
            seed=train.seed,
            aspects=self.task.train.aspects(),
            sources=self.task.train.sources,
            shares=self.task.train.epoch_shares,
        )

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.phases[-1].end

    @property
    def steps_per_epoch(self) -> float:
        """Optimiser steps a pass over the samples."""
        return run_length(self.run).per_epoch(self.task.train.epoch_length)

    @property
    def ends(self) -> set[int]:
        """Steps after which an objective ends."""
        starts = {phase.start for phase in self.phases if phase.begins}
        return starts - {0} | {self.total_steps}

    def phase(self, step: int) -> Phase:
        """The phase of an optimiser step; the last one, if the run ends before."""
        return next((phase for phase in self.phases if step < phase.end), self.phases[-1])

    def batches(self, start: int, end: int, passed_over: int = 0) -> Iterator[tuple[int, Inputs]]:
        """This process's shards of the optimiser steps [start, end), with their numbers.

        Args:
            start, end: of the run.
            passed_over: steps by which the samples are ahead of those.
        """
        shards = self.run.train.shards
        steps = range(start + passed_over, end + passed_over)
        objective = lambda shard: self.phase(shard // shards - passed_over).objective
        return self._batches(objective, ShardShare(steps, shards, self.world))

    def shards(self, objective: Objective, numbers: Sequence[int]) -> Iterator[Inputs]:
        """Shards of training of these numbers as an objective makes them, on the device.

        Shard s of step n has the number n * shards + s.
        """
        for _, inputs in self._batches(lambda _: objective, numbers):
            yield inputs.to(self.precision.device)

    def _batches(
        self, objective: Callable[[int], Objective], numbers: Sequence[int]
    ) -> Iterator[tuple[int, Inputs]]:
        dataset = self.task.train

        def collate(examples: list[Example], epoch: int, step: int) -> Inputs:
            return objective(step).collate(examples, BatchKey(dataset, epoch, step))

        return steps_of(
            order=self.task.order(self.order),
            load=self.task.examples.load,
            collate=collate,
            reader=self.task.reader,
            num_workers=self.run.data.num_workers,
            steps=numbers,
            device=self.precision.device,
        )

    def held_out(
        self,
        report: Callable[[Iterable[str]], None] = lambda _: None,
        visit: Callable[[], None] = lambda: None,
    ) -> HeldOut:
        """The held-out samples, which all processes measure together.

        Args:
            report: gets a line for each that is broken and replaced.
            visit: called at each batch, by all processes equally often: all may stop there.
        """
        return HeldOut(
            task=self.task,
            runtime=self.precision,
            batch_size=self.run.train.batch_size,
            report=report,
            visit=visit,
            team=self.world,
        )


def build_experiment(run: RunConfig, world: World = ALONE) -> Experiment:
    """Let the task read its data and build its model, and plan the phases.

    Raises:
        InputError: whatever is wrong with the data or the settings, in one line.
    """
    precision = choose_precision(run.train)
    decoder = choose_decoder(run.data, precision.device)
    run = replace(run, data=replace(run.data, decoder=decoder))
    task = run.task.build(_setup(run))
    length, samples = run_length(run), task.train.epoch_length
    phases = plan_phases(
        task.stages(),
        optim=run.optim,
        backbone=run.model.backbone,
        total_steps=length.total(samples),
        steps_per_epoch=length.per_epoch(samples),
        length=f"--steps {run.steps}" if run.steps else f"--train.epochs {run.train.epochs:g}",
    )
    task.learner.to(precision.device)
    return Experiment(
        run=replace(run, model=task.model_config),
        task=task,
        phases=phases,
        precision=precision,
        world=world,
        identity=identify(
            task.train_as_read,
            task.held_out,
            run.data,
            task.answer_names,
            described(decoder, precision.device),
        ),
        notes=split_notes(task),
    )


def run_length(run: RunConfig) -> RunLength:
    """How long the run is, whatever its data."""
    return RunLength(
        steps=run.steps,
        epochs=run.train.epochs,
        batch_size=run.train.batch_size,
        shards=run.train.shards,
    )


def _setup(run: RunConfig) -> TaskSetup:
    # Without a checkpoint nothing depends on the kept vocabulary, and it may be of other data.
    goes_on = run.resume == "auto" and complete_checkpoints(run.directory)
    return TaskSetup(
        data=run.data,
        model=run.model,
        length=run_length(run),
        seed=run.train.seed,
        held_out_images=run.train.held_out_images,
        init=() if goes_on else run.init,
        vocabulary=run.directory / "vocab.txt" if goes_on else None,
    )
