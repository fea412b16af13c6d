"""The training loop.

A step is a pure function of its number: which images, how they are paired and masked, the
dropout seed and the learning rates all derive from (seed, step). So a run is resumed by one
integer and equals the uninterrupted one bit for bit on a CPU. Nothing here waits for a GPU within
a step: figures stay on the device until a line is logged. (The reference assignment does wait.)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import torch

from vlp_fast.engine.bad_samples import BadSamples
from vlp_fast.engine.checkpoint import (
    load_checkpoint,
    newest_checkpoint,
    read_state,
    save_checkpoint,
)
from vlp_fast.engine.clock import Clock
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.divergence import divergence
from vlp_fast.engine.evaluator import evaluate, evaluate_parts
from vlp_fast.engine.experiment import Experiment, build_experiment
from vlp_fast.engine.failure import explained
from vlp_fast.engine.folder_lock import FolderLock
from vlp_fast.engine.optim import learning_rate_scale, set_learning_rates
from vlp_fast.engine.phases import Phase
from vlp_fast.engine.progress import Display, Journal
from vlp_fast.engine.replaced import Replaced
from vlp_fast.engine.run_folder import check_same_run, open_run_folder
from vlp_fast.engine.same_data import check_same_data
from vlp_fast.engine.stop import Stopped, StopRequest
from vlp_fast.engine.updater import Updater, shard_seed
from vlp_fast.errors import InputError
from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.inputs import Inputs
from vlp_fast.tasks.task import Figures


def train(run: RunConfig) -> Path:
    """Train from the newest checkpoint, or from scratch, to the end; returns the run folder.

    Raises:
        InputError: whatever is wrong with data, settings or folder, in one line.
    """
    torch.manual_seed(run.train.seed)
    with FolderLock(run.directory):  # before anything of the folder is read
        trainer = Trainer(build_experiment(run))
        try:
            with trainer.stop:
                trainer.run()
        finally:
            trainer.display.close()
    return run.directory


class Trainer:
    """One run in progress.

    Attributes:
        experiment: task, data and phases.
        step: optimiser steps done.
        display: what the person sees.
        stop: whether the person wants it to stop.
    """

    def __init__(self, experiment: Experiment) -> None:
        experiment.task.examples.look()
        experiment.task.held_out_examples.look(experiment.held_out().indices)
        self.experiment = experiment
        self.config = experiment.run
        self.learner = experiment.learner
        self.step = 0
        self.updater = Updater(experiment)
        self._notes = [*experiment.notes]
        check_same_run(self.config, self._notes.append)
        self._replaced = Replaced()
        self._resume()
        # Only now: a checkpoint of another model must leave the folder's run.json as it is.
        open_run_folder(experiment.run, experiment.task.tokenizer)
        self.display = Display(total=experiment.total_steps, start=self.step)
        path = self.config.directory / "metrics.jsonl"
        self.journal = Journal(path, start_step=self.step, say=self._notes.append)
        self._averages = Averages()
        self._clock = Clock()
        self._evaluated_at = self.journal.last_step("held_out")
        self._frozen: tuple[int, bool] | None = None
        self._bad_samples = BadSamples(self.config, self.display.say)
        self._began_at = self._saved_at = self.step
        self._is_worth_saving = True
        self.stop = StopRequest()

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
            self._rescue()
            reason = explained(error, self.step)
            if reason is error:
                raise
            raise reason from None

    def _train(self) -> None:
        total = self.experiment.total_steps
        self._introduce()
        next(self.experiment.held_out().collated())  # broken ones show now, not after the training
        self.learner.train()
        self._evaluate_if_due()  # a run that was stopped in an evaluation does it now
        batches = self.experiment.batches(self.step, total)
        while self.step < total:
            self._prepare()
            self._advance(batches)
            self.step += 1
            self.stop.check()
            self.display.step(self.step)
            self._write_what_is_due()
        self._save()  # first, so that trouble with the held-out images costs nothing
        self._evaluate()

    def _write_what_is_due(self) -> None:
        """A line, a checkpoint, an evaluation, each after as many steps as the settings say."""
        train, step = self.config.train, self.step
        is_saved = train.checkpoint_every > 0 and step % train.checkpoint_every == 0
        # A line before each checkpoint: a resumed run then averages over the same steps. And one
        # where an objective ends: what follows is another.
        is_cut = is_saved or step in self.experiment.ends
        if is_cut or step % train.log_every == 0:
            self._log()
        if is_saved:
            self._save()
        self._evaluate_if_due()

    def _evaluate_if_due(self) -> None:
        every = self.config.train.evaluate_every
        if every and self.step and self.step % every == 0:
            self._evaluate()

    def _rescue(self) -> None:
        """Save the state after the last whole step, if there is a new one; never raises."""
        if not self._is_worth_saving or self.step == self._saved_at or not self.updater.is_whole:
            return
        # What fails here follows from the first failure, and that one is told.
        with contextlib.suppress(Exception):
            self.updater.undo()
            with contextlib.suppress(Exception):
                if self._averages:
                    self._log()
            if self._is_worth_saving:
                self._save()
                self.display.say(f"saved step {self.step}")

    def _introduce(self) -> None:
        experiment, say = self.experiment, self.display.say
        parameters = sum(p.numel() for p in self.learner.parameters())
        precision = experiment.precision
        say(
            f"{self.config.name}: {parameters / 1e6:.2f} M parameters, "
            f"{len(experiment.task.train)} {experiment.task.samples} for training, "
            f"{len(experiment.task.held_out)} held out, "
            f"{precision.device.type} in {str(precision.dtype).removeprefix('torch.')}"
        )
        images = self.config.train.batch_size * self.config.train.shards
        say(
            f"{images} {experiment.task.samples} a step, {experiment.steps_per_epoch:.0f} steps an "
            f"epoch, steps {self.step} to {experiment.total_steps}, in {self.config.directory}"
        )
        for note in self._notes:
            say(f"note: {note}")

    def _prepare(self) -> None:
        """Everything about the coming step that derives from its number."""
        optim, step = self.config.optim, self.step
        phase = self.experiment.phase(step)
        torch.manual_seed(shard_seed(self.config.train.seed, step, 0))
        if phase.begins and step == phase.start:
            with self.stop.heard_at_once():
                experiment, objective = self.experiment, phase.objective
                batches = partial(experiment.first_batches, objective)
                line = objective.begin(self.learner, batches, experiment.precision)
            if line:
                self.display.say(line)
        self._freeze(phase)
        scale = learning_rate_scale(
            step - phase.schedule_start,
            config=optim,
            total_steps=phase.schedule_length,
            steps_per_epoch=self.experiment.steps_per_epoch,
        )
        set_learning_rates(
            self.updater.optimizers, scale, config=optim, backbone_scale=phase.backbone_scale
        )

    def _freeze(self, phase: Phase) -> None:
        backbone = self.learner.model.backbone
        frozen = backbone.num_stages if phase.frozen_stages is None else phase.frozen_stages
        if (frozen, phase.keeps_statistics) != self._frozen:
            backbone.freeze(frozen)
            backbone.freeze_statistics(phase.keeps_statistics)
            self._frozen = frozen, phase.keeps_statistics

    def _next(self, batches: Iterator[tuple[int, Inputs]]) -> Inputs:
        began = time.monotonic()
        _, inputs = next(batches)
        self._clock.waited += time.monotonic() - began
        self._report(inputs.problems)
        return inputs.to(self.experiment.precision.device)

    def _report(self, problems: Iterable[str]) -> None:
        """Say once, and write down, that an image was replaced."""
        self._bad_samples.tell(problems, self.step)

    def _advance(self, batches: Iterator[tuple[int, Inputs]]) -> None:
        """One optimiser step; one that fails enters no figure and no count."""
        objective, replaced = self.experiment.phase(self.step).objective, self._replaced

        def shards() -> Iterator[Inputs]:
            nonlocal replaced
            for _ in range(self.config.train.shards):
                inputs = self._next(batches)
                replaced = replaced.after(inputs).checked(self.config.data, self.step)
                self._clock.count(inputs)
                yield inputs

        figures = self.updater.update(self.step, objective, shards())
        self._averages.add_all(figures)
        self._replaced = replaced
        self.updater.end()

    def _log(self) -> None:
        shown = self._averages.means() | self._clock.figures()
        shown = {name: x for name, x in shown.items() if x or name != "skipped_steps"}
        shown["lr"] = self.updater.optimizers[0].param_groups[0]["lr"]
        shown |= self.experiment.phase(self.step - 1).objective.watched(self.learner)
        self._averages, self._clock = Averages(), Clock()
        try:
            self.journal.write(step=self.step, kind="train", **shown)
            self.display.log(self.step, shown)
        finally:
            self._check(shown["loss"])

    def _check(self, loss: float) -> None:
        """Refuse to go on, and to save, where nothing is learnt any more."""
        skipped = int(self.updater.skipped_in_a_row)
        what = divergence(
            loss,
            skipped,
            is_scaled=self.experiment.precision.is_scaled,
            is_whole_run=self.experiment.total_steps == self.step == self._began_at + skipped,
        )
        if what:
            self._is_worth_saving = False
            raise InputError(
                f"step {self.step}: {what}; the newest checkpoint in {self.config.directory} is "
                "from before; lower --optim.lr or use --train.precision fp32"
            )

    def _evaluate(self) -> None:
        if self._evaluated_at == self.step:
            return
        self._evaluated_at = self.step
        with self.stop.heard_at_once():
            figures = evaluate(self.experiment, self._report)
            parts = evaluate_parts(self.experiment)
        held_out = self.experiment.held_out()
        self._show("held_out", held_out.described(), figures)
        for of, found in parts:
            self._show("held_out_part", of, found)
        if self.step == self.experiment.total_steps:
            for line in self.experiment.task.remarks(figures, held_out):
                self.display.say(f"note: {line}")

    def _show(self, kind: str, of: str, figures: Figures) -> None:
        self.journal.write(step=self.step, kind=kind, of=of, **figures)
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.display.say(f"held out, step {self.step} ({of}): {text}")

    def _save(self) -> None:
        scaler = self.updater.scaler.state_dict() if self.experiment.precision.is_scaled else {}
        extra = {"scaler": scaler, "recipe": self.config.name, "replaced": self._replaced.state()}
        extra |= self.experiment.identity
        save_checkpoint(
            self.config.directory,
            self.step,
            self.learner,
            self.updater.optimizers,
            extra=extra,
            # Where the latest steps were skipped, older checkpoints may be the last good ones.
            keep=self.config.train.keep_checkpoints + int(self.updater.skipped_in_a_row),
        )
        self._saved_at = self.step

    def _resume(self) -> None:
        folder, is_wanted = self.config.directory, self.config.resume == "auto"
        found = newest_checkpoint(folder, self._notes.append) if is_wanted else None
        if found is not None:
            self._restore(found)
        else:
            self._refuse_frozen_noise()

    def _restore(self, found: Path) -> None:
        experiment, roots = self.experiment, self.config.data.root
        check_same_data(found, read_state(found), experiment.identity, roots, self._notes.append)
        state = load_checkpoint(found, self.learner, self.updater.optimizers)
        try:
            # A scale of another number format than fp16 is none: fp16 then starts from its own.
            if self.experiment.precision.is_scaled and state["scaler"]:
                self.updater.scaler.load_state_dict(state["scaler"])
        except (LookupError, RuntimeError, TypeError) as error:
            raise InputError(
                f"{found}: its loss scaling is unreadable ({type(error).__name__}); delete it, and "
                "the same command goes on from the checkpoint before"
            ) from None
        self.step, self._replaced = state["step"], Replaced.restored(state.get("replaced"))
        if self.step > self.experiment.total_steps:
            raise InputError(
                f"{found}: is beyond the {self.experiment.total_steps} steps asked for; raise "
                "--steps or give another --run-dir"
            )

    def _refuse_frozen_noise(self) -> None:
        """A CNN that is frozen and random, for a while or in part, passes on noise."""
        config = self.config
        backbone = config.model.backbone
        given = (name for loaded in self.experiment.task.loaded for name in loaded.loaded)
        if any(name.startswith("backbone.") for name in given):
            return
        starts_frozen = self.experiment.phase(0).frozen_stages is None
        if backbone.norm == "frozen" or backbone.freeze_stages > 0 or starts_frozen:
            raise InputError(
                f"{config.name} starts with a frozen CNN (in whole or in part), which needs "
                "weights: give a torchvision ResNet's state dict with --init, or "
                "train it from scratch by --model.backbone.norm batch "
                "--model.backbone.freeze-stages 0 --optim.freeze-backbone 0"
            )
