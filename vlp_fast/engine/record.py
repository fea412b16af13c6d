"""What a run shows and writes while it trains: by its first process, on behalf of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vlp_fast.engine.bad_samples import BadSamples
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.figure_table import in_columns
from vlp_fast.engine.progress import Display, Journal
from vlp_fast.engine.run_folder import open_run_folder
from vlp_fast.engine.tensorboard import TensorBoard, check_tensorboard
from vlp_fast.tasks.task import Figures

JOURNAL = "metrics.jsonl"
PARTS = 6
"""Parts of a learner that one line names."""


class Record:
    """The display, metrics.jsonl and bad_samples.jsonl of a run.

    Args:
        experiment: whose run folder is opened.
        start: the step that the run goes on from.
        notes: what to know before it, one line each.
        cut: whether the line of that step was written for some steps of those of a line.

    Raises:
        InputError: if the folder cannot be written.
    """

    def __init__(
        self, experiment: Experiment, start: int, notes: list[str], *, cut: bool = False
    ) -> None:
        run = experiment.run
        if run.train.tensorboard:
            check_tensorboard()  # before anything is written
        open_run_folder(run, experiment.task.tokenizer)
        self._folder = run.directory
        notes = [*notes]
        self._columns = experiment.task.columns
        self._journal = Journal(self._folder / JOURNAL, start_step=start, cut=cut, say=notes.append)
        self._board = TensorBoard(run.directory, start) if run.train.tensorboard else None
        self._bad_samples = BadSamples(run, self.say)
        self._opening = [*_introduction(experiment, start), *(f"note: {note}" for note in notes)]
        self._left_out: list[str] = []
        self._display = Display(total=experiment.total_steps, start=start)

    @property
    def evaluated_at(self) -> int:
        """The last step with held-out figures; -1 if there is none."""
        return self._journal.last_step("held_out")

    def open(self) -> None:
        """Say what the run is, and begin to show how far it is."""
        self._display.open()
        for line in self._opening:
            self.say(line)

    def say(self, text: str) -> None:
        """Show a line."""
        self._display.say(text)

    def step(self, step: int) -> None:
        """Another step is done."""
        self._display.step(step)

    def log(self, step: int, figures: Figures) -> None:
        """Figures of training."""
        self._journal.write(step=step, kind="train", **figures)
        if self._board:
            self._board.write(step, "train", figures)
        self._display.log(step, figures)

    def held_out(self, kind: str, step: int, of: str, figures: Figures) -> None:
        """Held-out figures, and what they are of."""
        self._journal.write(step=step, kind=kind, of=of, **figures)
        if self._board:
            self._board.write(step, kind, figures)
        shown, table = in_columns(figures, self._columns)
        text = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        for line in (f"held out, step {step} ({of}): {text}", *table):
            self.say(line)

    def roll_back(self, step: int, *, came_to: int, passed_over: int) -> None:
        """The run goes on from an earlier step: what was written of later ones is dropped."""
        self._journal = Journal(self._folder / JOURNAL, start_step=step)
        # Of the next step: whoever resumes from this one goes back once more, and says so then.
        row = {"kind": "rollback", "came_to": came_to, "passed_over": passed_over}
        self._journal.write(step=step + 1, **row)
        self._display.go_back(step)
        if self._board:
            self._board.close()
            self._board = TensorBoard(self._folder, step)

    def left_out(self, names: list[str], objective: str) -> None:
        """Say once a phase which parameters it leaves as they are, though it does not freeze them.

        Args:
            names: of the parameters; none where nothing is new.
            objective: that is learnt.
        """
        if names and names != self._left_out:
            self.say(f"note: {left_out_line(names, objective)}")
        self._left_out = names

    def replaced(self, problems: Iterable[str], step: int) -> None:
        """Say once, and write down, that samples were replaced."""
        self._bad_samples.tell(problems, step)

    def close(self) -> None:
        """Leave the terminal as it was, then write what is left."""
        self._display.close()
        if self._board:
            self._board.close()


class NoRecord(Record):
    """Of the other processes, which show and write nothing."""

    def __init__(self) -> None:
        pass

    @property
    def evaluated_at(self) -> int:
        """Nothing was written."""
        return -1

    def open(self) -> None:
        """Nothing is said."""

    def say(self, text: str) -> None:
        """Nothing is shown."""

    def step(self, step: int) -> None:
        """Nothing is shown."""

    def log(self, step: int, figures: Figures) -> None:
        """Nothing is written."""

    def held_out(self, kind: str, step: int, of: str, figures: Figures) -> None:
        """Nothing is written."""

    def replaced(self, problems: Iterable[str], step: int) -> None:
        """Nothing is written."""

    def roll_back(self, step: int, *, came_to: int, passed_over: int) -> None:
        """Nothing is written."""

    def left_out(self, names: list[str], objective: str) -> None:
        """Nothing is said."""

    def close(self) -> None:
        """There is nothing to close."""


def left_out_line(names: list[str], objective: str) -> str:
    """How many parameters an objective leaves as they are, and of which parts of the learner."""
    parts = Counter(".".join(name.split(".")[:2]) for name in names)
    shown = [f"{part} ({count})" for part, count in parts.most_common(PARTS)]
    more = f" and {len(parts) - PARTS} more parts" if len(parts) > PARTS else ""
    return (
        f"{objective} leaves {len(names)} parameters as they are, for which its first shards gave "
        f"no gradient: {', '.join(shown)}{more}"
    )


def _introduction(experiment: Experiment, start: int) -> tuple[str, str]:
    run, task, precision = experiment.run, experiment.task, experiment.precision
    parameters = sum(p.numel() for p in experiment.learner.parameters())
    count = experiment.world.count
    where = precision.device.type if count == 1 else f"{count} x {precision.device.type}"
    return (
        f"{run.name}: {parameters / 1e6:.2f} M parameters, "
        f"{len(task.train)} {task.samples} for training, {len(task.held_out)} held out, "
        f"{where} in {str(precision.dtype).removeprefix('torch.')}",
        f"{run.train.batch_size * run.train.shards} {task.samples} a step, "
        f"{experiment.steps_per_epoch:.0f} steps an epoch, steps {start} to "
        f"{experiment.total_steps}, in {run.directory}",
    )
