"""What of a run stays on disk, and how it goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vlp_fast.engine.agreement import check_agreement
from vlp_fast.engine.best import Best
from vlp_fast.engine.checkpoint import (
    delete_newer,
    load_checkpoint,
    load_model,
    newest_checkpoint,
    read_state,
)
from vlp_fast.engine.checkpoint_writer import CheckpointWriter
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.frozen_noise import refuse_frozen_noise
from vlp_fast.engine.same_data import check_same_data
from vlp_fast.engine.snapshot import give_parts
from vlp_fast.engine.standing import Standing
from vlp_fast.engine.updater import Updater
from vlp_fast.engine.world import together
from vlp_fast.errors import InputError
from vlp_fast.tasks.task import Figures
from vlp_fast.weights.checkpoints import (
    AVERAGE,
    State,
    complete_checkpoints,
    is_due,
    is_intact,
    model_file,
    step_of,
)


class Keeper:
    """The checkpoints of a run, which its first process writes for all.

    Args:
        experiment: whose learner they hold.
        updater: whose optimisers they hold.

    Attributes:
        step: that the run went on from; 0 of a new one.
    """

    def __init__(self, experiment: Experiment, updater: Updater) -> None:
        self._experiment = experiment
        self._config = experiment.run
        self._world = experiment.world
        self._updater = updater
        self._writer = CheckpointWriter(self._config.directory)
        self._best = Best(self._config.directory, self._config.train.keep_best)
        self.step = self._saved_at = 0

    def resume(self, say: Callable[[str], object]) -> Standing:
        """Go on from the newest checkpoint, if there is one; where the run stood by then.

        Raises:
            InputError: if it is of another run, or of more steps than are asked for.
        """
        is_wanted = self._config.resume == "auto" and self._world.is_first
        found = newest_checkpoint(self._config.directory, say) if is_wanted else None
        found = self._world.first_value(found)
        if found is None:
            refuse_frozen_noise(self._experiment)
            return Standing()
        return self._restored(found, say)

    def newest_before(self, step: int) -> Path | None:
        """The newest checkpoint of fewer steps that a run has which nobody disturbed.

        All processes ask for it together.
        """
        self._writer.wait()
        found = None
        if self._world.is_first:
            due = (p for p in complete_checkpoints(self._config.directory) if is_due(p))
            earlier = (p for p in reversed([*due]) if step_of(p) < step and is_intact(p))
            found = next(earlier, None)
        return self._world.first_value(found)

    def go_back(self, path: Path) -> None:
        """Put back the state of an earlier checkpoint, and delete all that are newer.

        Raises:
            InputError: if it cannot be read, or one of those not be deleted.
        """
        self._restored(path, lambda line: None)
        with together(self._world):
            if self._world.is_first:
                delete_newer(path)

    def save(self, step: int, standing: Standing) -> None:
        """Begin to write the state after a step, of which all processes have the same.

        Raises:
            InputError: if they have not, or the checkpoint before could not be written.
        """
        if self.is_saved(step):
            return
        check_agreement(self._world, self._updater.parameters.common(), step)
        if self._updater.parameters.is_sharded:
            with together(self._world):
                self._writer.join()  # before the others give the first one their parts
        with together(self._world):
            self.write(step, standing)
        self._saved_at = step

    def write(self, step: int, standing: Standing, *, is_due: bool = True) -> None:
        """Begin to write the state; all processes do so together, of which the first one writes.

        Args:
            step: whole steps.
            standing: by then.
            is_due: whether the settings ask for it, and not something that has ended the run.
        """
        if self._world.is_first:
            self._write(self._writer, step, standing, is_due=is_due)
        else:
            self.give_parts()

    def write_to(self, folder: Path, step: int, standing: Standing) -> None:
        """Write the state into another folder, and wait until it is on disk.

        The others give their parts meanwhile.

        Raises:
            InputError: if it cannot be written.
        """
        writer = CheckpointWriter(folder)
        self._write(writer, step, standing, is_due=False)
        writer.join()

    def give_parts(self) -> None:
        """What this process has and the first one, which writes the state now, has not."""
        updater = self._updater
        if updater.parameters.is_sharded:
            average = updater.average.state()
            learner = self._experiment.learner
            give_parts(learner, updater.optimizers, average, updater.parameters)

    def is_saved(self, step: int) -> bool:
        """Whether the checkpoint of a step is on disk, or on its way there."""
        return self._saved_at == step

    def is_best(self, step: int, figures: Figures, *, ahead: int) -> bool:
        """Whether the state after a step is the best by the figure that is asked for.

        Args:
            step: whole steps.
            figures: held-out ones of the state.
            ahead: steps that the samples are ahead of it, after a rollback.

        Raises:
            InputError: if there is no such figure.
        """
        with together(self._world):
            is_best = self._world.is_first and self._best.is_beaten_by(step, figures, ahead=ahead)
        return self._world.first_value(is_best)

    def keep_best(self, step: int, figures: Figures, *, ahead: int) -> None:
        """Let what was saved last be the best."""
        with together(self._world):
            self._writer.join()
            if self._world.is_first:
                self._best.keep(step, figures, ahead=ahead)

    def check(self) -> None:
        """Tell what went wrong with what is being written, and do not wait."""
        self._writer.check()

    def join(self) -> None:
        """Wait until what was saved last is on disk, and tell what went wrong."""
        self._writer.join()

    def wait(self) -> None:
        """Wait until nothing is being written."""
        self._writer.wait()

    def forget_unwritten(self) -> None:
        """What was saved last could not be written: its step is to be saved anew."""
        self._saved_at = self.step

    def _write(
        self, writer: CheckpointWriter, step: int, standing: Standing, *, is_due: bool
    ) -> None:
        skipped = int(self._updater.skipped.in_a_row)
        is_scaled = self._experiment.precision.is_scaled
        extra: State = {
            "scaler": self._updater.scaler.state_dict() if is_scaled else {},
            "recipe": self._config.name,
            "is_due": is_due,
            "skipped_in_a_row": skipped,
            **standing.state(),
            **self._experiment.identity,
        }
        writer.save(
            step,
            self._experiment.learner,
            self._updater.optimizers,
            extra=extra,
            # Where the latest steps were skipped, older checkpoints may be the last good ones.
            keep=self._config.train.keep_checkpoints + skipped,
            average=self._updater.average.state(),
            parameters=self._updater.parameters,
        )

    def _restored(self, found: Path, say: Callable[[str], object]) -> Standing:
        experiment, updater = self._experiment, self._updater
        roots = self._config.data.root
        check_same_data(found, read_state(found), experiment.identity, roots, say)
        state = self._loaded(found, say)
        try:
            # A scale of another number format than fp16 is none: fp16 then starts from its own.
            if experiment.precision.is_scaled and state["scaler"]:
                updater.scaler.load_state_dict(state["scaler"])
        except (LookupError, RuntimeError, TypeError) as error:
            raise InputError(
                f"{found}: its loss scaling is unreadable ({type(error).__name__}); delete it, and "
                "the same command goes on from the checkpoint before"
            ) from None
        self.step = self._saved_at = state["step"]
        if self.step > experiment.total_steps:
            raise InputError(
                f"{found}: is beyond the {experiment.total_steps} steps asked for; raise --steps "
                "or give another --run-dir"
            )
        updater.skipped.go_on_from(int(state.get("skipped_in_a_row", 0)))
        standing = Standing.restored(state)
        standing.replaced.check(self._config.data, self.step)
        return standing

    def _loaded(self, found: Path, say: Callable[[str], object]) -> State:
        """Model, optimisers and average as a checkpoint has them; its state.json."""
        learner, average = self._experiment.learner, self._updater.average
        parameters = self._updater.parameters
        has_average = model_file(found).name == AVERAGE
        if has_average and average.is_on:
            with average.in_place():
                load_model(found, learner, AVERAGE, parameters)
        state = load_checkpoint(found, learner, self._updater.optimizers, parameters)
        if average.is_on and not has_average:
            average.start()
            say(f"{found.name} has no average of the weights, which begins with those of now")
        elif has_average and not average.is_on:
            say(f"{found.name} has an average of the weights, which ends here (--train.ema)")
        return state
