"""The training loop.

A step is a pure function of its number: which images, how they are paired and masked, the
dropout seed and the learning rates all derive from (seed, step). So a run is resumed by one
integer and equals the uninterrupted one bit for bit on a CPU. Nothing here waits for a GPU within
a step: figures stay on the device until a line is logged. (The reference assignment does wait.)
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.profiler import record_function

from vlp_fast.engine.agreement import check_same_start
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.evaluator import evaluate, evaluate_parts
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.engine.failure import explained
from vlp_fast.engine.first_batches import FirstBatches
from vlp_fast.engine.folder_lock import FolderLock
from vlp_fast.engine.guard import Guard
from vlp_fast.engine.keeper import Keeper
from vlp_fast.engine.launch import check_shares
from vlp_fast.engine.phases import Phase, freeze_parts
from vlp_fast.engine.record import NoRecord, Record
from vlp_fast.engine.rollbacks import RollBack
from vlp_fast.engine.run_folder import check_same_run
from vlp_fast.engine.schedule import set_rates_at
from vlp_fast.engine.shown import Shown
from vlp_fast.engine.speed import Speed
from vlp_fast.engine.standing import Standing
from vlp_fast.engine.step_profile import StepProfile
from vlp_fast.engine.stop import Stopped, StopRequest
from vlp_fast.engine.told_once import ToldOnce
from vlp_fast.engine.updater import Updater, shard_seed
from vlp_fast.engine.watchdog import Watchdog
from vlp_fast.engine.world import together, told_of_loss, world_of
from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.inputs import Inputs
from vlp_fast.tasks.task import Figures


def train(run: RunConfig) -> Path:
    """Train from the newest checkpoint, or from scratch, to the end; returns the run folder.

    Started by `torchrun`, this process is one of several that share the steps.

    Raises:
        InputError: whatever is wrong with data, settings or folder, in one line.
    """
    with world_of(run.train) as world, told_of_loss(world), ExitStack() as at_end:
        torch.manual_seed(run.train.seed)
        with together(world):
            check_shares(run.train.shards, world.count)
            if world.is_first:  # before anything of the folder is read
                at_end.enter_context(FolderLock(run.directory))
            trainer = Trainer(build_experiment(run, world))
        at_end.callback(trainer.record.close)
        with trainer.stop, trainer.told:
            trainer.run()
    return run.directory


class Trainer:
    """One run in progress.

    Attributes:
        experiment: task, data and phases.
        step: optimiser steps done.
        updater: what moves the weights.
        keeper: what keeps them.
        record: what is shown and written.
        stop: whether the person wants it to stop.
        told: warnings of all processes.
        watchdog: ends it where it hangs.
    """

    def __init__(self, experiment: Experiment) -> None:
        check_same_start(experiment)
        experiment.task.examples.look()
        experiment.task.held_out_examples.look(experiment.held_out().indices)
        self.experiment = experiment
        self.config = experiment.run
        self.learner = experiment.learner
        self.world = experiment.world
        self.updater = Updater(experiment)
        self.keeper = Keeper(experiment, self.updater)
        notes = [*experiment.notes]
        check_same_run(self.config, notes.append)
        standing = self.keeper.resume(notes.append)
        self._shown = Shown(self.world, standing.replaced)
        self._rollbacks, self._averages = standing.rollbacks, standing.averages
        self.step = self.keeper.step
        # Only now: a checkpoint of another model must leave the folder's run.json as it is.
        is_first = self.world.is_first
        cut = bool(self._averages)
        self.record = Record(experiment, self.step, notes, cut=cut) if is_first else NoRecord()
        self._guard = Guard(experiment, self.updater, self.keeper, self.record.say)
        self._evaluated_at = self.world.first_value(self.record.evaluated_at)
        self._speed = Speed(experiment, self.updater)
        self._phase: Phase | None = None
        watched = self.config.train.profiled_steps if is_first else range(0)
        self._profile = StepProfile(
            watched,
            self.config.directory,
            self.record.say,
            is_gpu=experiment.precision.device.type == "cuda",
        )
        self.stop = StopRequest(self.world)
        self.told = ToldOnce(self.world)
        self.watchdog = Watchdog(self.config.train.watchdog_minutes)

    def run(self) -> None:
        """Every step that is left, then the last evaluation and checkpoint.

        Whatever ends it early costs no more than the step in progress: the state after the last
        whole one is saved first, unless it is worth nothing (a loss that is not finite).

        Raises:
            Stopped: if a signal asked for the end.
            InputError: if something failed that has a remedy.
            Exception: if something else did.
        """
        try:
            self._train()
        except (Exception, Stopped) as error:
            self.watchdog.leave()
            self._rescue()
            reason = explained(error, self.step)
            if reason is error:
                raise
            raise reason from None
        finally:
            self.keeper.wait()  # within the lock of the folder

    def _train(self) -> None:
        total = self.experiment.total_steps
        self.record.open()
        next(self.experiment.held_out().collated())  # broken ones show now, not after the training
        self.learner.train()
        try:
            self._make_up()
        except RollBack as back:
            self._roll_back(back)
        batches = self._batches()
        self.watchdog.visit()
        while self.step < total:
            try:
                self.one_step(batches)
            except RollBack as back:
                self._roll_back(back)
                batches = self._batches()
            self.watchdog.visit()
        self.watchdog.leave()
        self._profile.close()
        self._save()  # first, so that trouble with the held-out images costs nothing
        self._evaluate()
        with together(self.world):
            self.keeper.join()

    def _make_up(self) -> None:
        """Write what is due after the step that a run was stopped or lost behind."""
        if self._averages and self._is_line_due:
            set_rates_at(self.updater.optimizers, self.experiment, self.step - 1)
            self._log()
        self._evaluate_if_due()

    def _batches(self) -> Iterator[tuple[int, Inputs]]:
        total, ahead = self.experiment.total_steps, self._rollbacks.passed_over
        return self.experiment.batches(self.step, total, ahead)

    def one_step(self, batches: Iterator[tuple[int, Inputs]]) -> None:
        """Make the coming step, and write what is due after it; all processes may stop here.

        Args:
            batches: this process's shards from that step on, with their numbers.
        """
        self._profile.begin(self.step)
        self._prepare()
        self._advance(batches)
        self.step += 1
        self._profile.end(self.step)
        if self.world.count == 1:
            self._settle()
        self.stop.check()
        self.record.step(self.step)
        self._write_what_is_due()

    def _roll_back(self, back: RollBack) -> None:
        """Go on from an earlier state, with the samples behind those that were shown."""
        with self.watchdog.off_duty(), together(self.world):
            came_to = self.step
            self.keeper.go_back(back.checkpoint)
            self._averages = Averages()  # a line precedes each checkpoint that is gone back to
            self.step = self.keeper.step
            self._rollbacks = self._rollbacks.after(came_to, self.step)
            ahead = self._rollbacks.passed_over
            self.record.roll_back(self.step, came_to=came_to, passed_over=ahead)
            self.record.say(f"{back.reason}; back to {back.checkpoint.name}, with other samples")
        self._evaluated_at = self.world.first_value(self.record.evaluated_at)
        self._speed.begin()
        self._guard.is_sound = True

    def _write_what_is_due(self) -> None:
        """A line, a checkpoint, an evaluation, each after as many steps as the settings say."""
        self._guard.look(self.step, self._standing(), is_line=self._is_line_due)
        if self._is_line_due:
            self._log()
        if self._is_checkpoint_due:
            self._save()
        self._evaluate_if_due()

    @property
    def _is_checkpoint_due(self) -> bool:
        every = self.config.train.checkpoint_every
        return every > 0 and self.step % every == 0

    @property
    def _is_line_due(self) -> bool:
        """Each so many steps, before each checkpoint, and where an objective ends."""
        is_cut = self._is_checkpoint_due or self.step in self.experiment.ends
        return is_cut or self.step % self.config.train.log_every == 0

    def _evaluate_if_due(self) -> None:
        every = self.config.train.evaluate_every
        if every and self.step and self.step % every == 0:
            self._evaluate()

    def _rescue(self) -> None:
        """Save the state after the last whole step, if there is a new one; never raises."""
        self._await_writer()
        # Where one of several processes failed, the others are not there to be asked.
        is_common = self.world.count == 1 or self.stop.is_agreed
        # What fails here follows from the first failure, and that one is told.
        with contextlib.suppress(Exception):
            if not self._is_new(is_common=is_common) or not self.updater.is_whole:
                return
            self.updater.undo()
            averages = self._averages
            with contextlib.suppress(Exception):
                if averages and is_common:
                    self._log()
            if self._guard.is_sound:
                # A line that was not due yet is averaged over more steps by whoever goes on.
                self._write_last(self._averages if self._is_line_due else averages)
            if is_common:
                self.world.all_values(None)  # whoever ends first ends the others

    def _is_new(self, *, is_common: bool) -> bool:
        """Whether the state is worth saving and can be, which takes all where each has a part."""
        is_new = self._guard.is_sound and not self.keeper.is_saved(self.step)
        if not self.updater.parameters.is_sharded:
            return is_new
        return is_common and self.world.first_value(is_new)

    def _write_last(self, averages: Averages) -> None:
        self._shown.count()
        standing = replace(self._standing(), averages=averages)
        self.keeper.write(self.step, standing, is_due=self._is_checkpoint_due)
        if self.world.is_first:
            self.keeper.join()
            self.record.say(f"saved step {self.step}")

    def _await_writer(self) -> None:
        """Wait for the checkpoint that is being written; one that failed is told, and made anew."""
        try:
            self.keeper.join()
        except Exception as error:
            self.keeper.forget_unwritten()
            with contextlib.suppress(Exception):
                self.record.say(str(error))

    def _prepare(self) -> None:
        """Everything about the coming step that derives from its number."""
        step = self.step
        phase = self.experiment.phase(step)
        torch.manual_seed(shard_seed(self.config.train.seed, step, 0))
        if phase.begins and step == phase.start:
            with self.watchdog.off_duty(), self.stop.heard_at_once(), together(self.world):
                experiment, objective = self.experiment, phase.objective
                batches = FirstBatches(experiment, objective, self.stop.check)
                with self.updater.parameters.whole():
                    line = objective.begin(self.learner, batches, experiment.precision)
            if line:
                self.record.say(line)
        self._freeze(phase)
        set_rates_at(self.updater.optimizers, self.experiment, step)

    def _freeze(self, phase: Phase) -> None:
        if phase is self._phase:
            return
        self._phase = phase
        self.updater.end_phase()
        freeze_parts(self.learner, phase)

    def _advance(self, batches: Iterator[tuple[int, Inputs]]) -> None:
        """One optimiser step; one that fails enters no figure and no count."""
        self._shown.drop_step()
        objective = self.experiment.phase(self.step).objective
        position = self.step + self._rollbacks.passed_over
        figures = self.updater.update(position, objective, self._shards(batches))
        self.record.left_out(self.updater.left_out, type(objective).__name__)
        self._averages.add_all(figures)
        self._shown.end_step(self.updater.shown)
        self.updater.end()

    def _shards(self, batches: Iterator[tuple[int, Inputs]]) -> Iterator[Inputs]:
        """This process's shards of a step, on the device."""
        for _ in self.world.share_of(self.config.train.shards):
            began = time.monotonic()
            with record_function("data"):
                _, inputs = next(batches)
            self._speed.clock.waited += time.monotonic() - began
            self._speed.clock.count(inputs)
            self._shown.add(inputs)
            yield inputs.to(self.experiment.precision.device)

    def _settle(self) -> None:
        """Tell of warnings and replaced samples, and stop where the latter are too many."""
        for line in self.told.gather():
            self.record.say(line)
        self.record.replaced(self._shown.settle(self.config.data, self.step), self.step)

    def _log(self) -> None:
        with together(self.world):
            self._log_together()

    def _log_together(self) -> None:
        self.keeper.check()
        self._settle()
        nothing = {"loss": math.nan, "gradient_norm": math.nan}  # where all steps were skipped
        shown = nothing | self._averages.means() | self._speed.figures()
        shown = {name: x for name, x in shown.items() if x or name != "skipped_steps"}
        shown["lr"] = self.updater.optimizers[0].param_groups[0]["lr"]
        shown |= self.experiment.phase(self.step - 1).objective.watched(self.learner)
        try:
            self.record.log(self.step, shown)
            self._averages = Averages()
            self._speed.begin()
        finally:
            self._guard.check(self.step, self._standing())

    def _evaluate(self) -> None:
        if self._evaluated_at == self.step:
            return
        self._evaluated_at = self.step
        measured = self.updater.measured()
        with measured, self.watchdog.off_duty(), self.stop.heard_at_once():
            report = partial(self.record.replaced, step=self.step)
            figures = evaluate(self.experiment, report, self.stop.check)
            parts = evaluate_parts(self.experiment, self.stop.check)
        self._settle()
        self._keep_best(figures)  # before it is written down that this step was evaluated
        held_out = self.experiment.held_out()
        self.record.held_out("held_out", self.step, held_out.described(), figures)
        for of, found in parts:
            self.record.held_out("held_out_part", self.step, of, found)
        if self.step == self.experiment.total_steps:
            for line in self.experiment.task.remarks(figures, held_out):
                self.record.say(f"note: {line}")

    def _keep_best(self, figures: Figures) -> None:
        ahead = self._rollbacks.passed_over
        if not self.keeper.is_best(self.step, figures, ahead=ahead):
            return
        if self._averages:  # a line before each checkpoint
            self._log()
        self._save()
        self.keeper.keep_best(self.step, figures, ahead=ahead)

    def _save(self) -> None:
        self.keeper.save(self.step, self._standing())

    def _standing(self) -> Standing:
        replaced, rollbacks = self._shown.replaced, self._rollbacks
        return Standing(replaced=replaced, rollbacks=rollbacks, averages=self._averages)
