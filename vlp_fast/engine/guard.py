"""What becomes of a run whose steps are skipped: it goes on, goes back, or ends.

Steps are skipped on the device, one by one, alike on all processes. How many there were in a row is
looked at where a line is logged, which waits for the figures anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from vlp_fast.engine.divergence import divergence
from vlp_fast.engine.dumps import Dumps
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.keeper import Keeper
from vlp_fast.engine.rollbacks import RollBack
from vlp_fast.engine.standing import Standing
from vlp_fast.engine.updater import Updater
from vlp_fast.errors import InputError


class Guard:
    """Judges a run by its skipped steps.

    Args:
        experiment: whose settings say how often it may go back.
        updater: that skips steps.
        keeper: of the checkpoints that it may go back to.
        say: gets lines about steps that were written down.

    Attributes:
        is_sound: whether the state may replace earlier ones.
    """

    def __init__(
        self,
        experiment: Experiment,
        updater: Updater,
        keeper: Keeper,
        say: Callable[[str], object],
    ) -> None:
        self._experiment = experiment
        self._updater = updater
        self._keeper = keeper
        self._say = say
        self._dumps = Dumps(experiment, updater, keeper)
        self.is_sound = True

    def look(self, step: int, standing: Standing, *, is_line: bool) -> None:
        """Write down the first step that is skipped, as `Dumps.look` has it."""
        self._tell(self._dumps.look(step, standing, is_line=is_line))

    def check(self, step: int, standing: Standing) -> None:
        """Let the run go on after so many steps, or not; all processes alike.

        Args:
            step: whole steps so far.
            standing: by then.

        Raises:
            RollBack: if it goes back to a checkpoint.
            InputError: if it ends.
        """
        skipped = int(self._updater.skipped.in_a_row)
        what = divergence(
            skipped,
            is_scaled=self._experiment.precision.is_scaled,
            is_last=step in self._experiment.ends,
            is_whole_run=skipped == step,
        )
        what = self._experiment.world.first_value(what)
        if what:
            self.is_sound = False
            self._tell(self._dumps.last(step, standing, what))
            count = standing.rollbacks.count
            self._refuse(f"step {step}: {what}", step - skipped, rollbacks=count)

    def _tell(self, line: str | None) -> None:
        if line:
            self._say(line)

    def _refuse(self, reason: str, moved: int, *, rollbacks: int) -> None:
        # The last step that moved the weights may have spoilt them: back to before it.
        earlier = self._keeper.newest_before(moved)
        if earlier is not None and rollbacks < self._experiment.run.train.rollbacks:
            raise RollBack(earlier, reason)
        folder = self._experiment.run.directory
        where = f"{folder / earlier.name} is" if earlier else f"no checkpoint in {folder} is"
        raise InputError(
            f"{reason}; {where} from before; lower --optim.lr or use --train.precision fp32"
        )
