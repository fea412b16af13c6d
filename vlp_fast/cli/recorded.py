"""What commands on a run folder have in common: its data may have moved, its split be another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro
from tyro.conf import UseAppendAction

from vlp_fast.checks import AT_LEAST_ONE, check
from vlp_fast.cli.output import complain
from vlp_fast.data.printable import printable
from vlp_fast.engine.launch import check_launched, is_first, is_launched, launch
from vlp_fast.errors import InputError

if TYPE_CHECKING:
    from vlp_fast.engine.config import RunConfig
    from vlp_fast.engine.experiment import Experiment
    from vlp_fast.engine.world import World


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the run's data are now, if not where they were."""

    root: UseAppendAction[tuple[Path, ...]] = ()
    """The folder of the data set that the run was trained on; if of several, of each in order."""
    objects_vocabulary: Path | None = None
    """Visual Genome's class names."""
    attributes_vocabulary: Path | None = None
    """Visual Genome's attribute names."""
    exclude: Path | None = None
    """The ids of COCO that were not trained on."""
    missing_images: Literal["error", "drop"] | None = None
    """Drop: images without a file are left out of a split that the run was not trained on."""


@dataclass(frozen=True, kw_only=True)
class TaskPlaces:
    """Where a file of the run's task is now."""

    kinds: ClassVar[dict[str, str]] = {"answers": "VQA"}
    """Whose each setting is."""

    answers: Path | None = None
    """VQA: the answers that the run was trained with."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A run and what it is shown."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """The run's folder."""
    data: Places = field(default_factory=Places)
    task: TaskPlaces = field(default_factory=TaskPlaces)
    split: str | None = None
    """Another split than the run's own held-out one: train, val, test or what its files have."""
    images: int | None = None
    """How many samples at most, instead of the run's number: spread over the split by a hash of
    their ids, the same ones in every run, the first 100 among the first 500."""
    recipe_file: Path | None = None
    """The file of a recipe of your own that the run was trained by; it is run. A file that only a
    run's folder names is not."""
    processes: int = 1
    """Processes on this machine that share the samples, each with a GPU of its own where there are
    any; what they find does not depend on their number."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot be."""
        check(self, AT_LEAST_ONE, "images", "processes")

    def of(self, run: Any) -> Any:
        """The run with these places, this split and this number."""
        moved = {name: value for name, value in vars(self.data).items() if value}
        if self.data.root and len(self.data.root) != len(run.data.root):
            raise InputError(
                f"--data.root: received {len(self.data.root)}, and the run was trained on "
                f"{len(run.data.root)} data sets; give the folder of each, in their order"
            )
        data, train = replace(run.data, **moved), run.train
        if self.split is not None:
            data = replace(data, held_out_split=self.split)
        if self.images is not None:
            train = replace(train, held_out_images=self.images)
        return replace(run, data=data, train=train, task=self._task_of(run))

    def _task_of(self, run: Any) -> Any:
        given = {name: value for name, value in vars(self.task).items() if value is not None}
        for name, value in given.items():
            if not hasattr(run.task, name):
                kind = self.task.kinds[name]
                raise InputError(
                    f"--task.{name.replace('_', '-')} {printable(value)}: {run.name} is no run of "
                    f"{kind}, which the option is for; leave it out"
                )
        return replace(run.task, **given)


def recorded_run(asked: Recorded) -> RunConfig:
    """The run of a folder, shown what is asked for; what takes no time is looked at first.

    Raises:
        InputError: if the folder holds no run, or data or answers are not where they are said to
            be, or not the run's.
    """
    from vlp_fast import recipes  # whose tasks a run may name

    run: RunConfig = asked.of(recipes.restore_trained(asked.run_dir, asked.recipe_file))
    look_first(run)
    return run


def look_first(run: RunConfig) -> None:
    """What takes no time to find out about a run's data is told before torch is imported.

    Raises:
        InputError: if they are not there, not for this task, or its answers are not the run's.
    """
    run.task.look_first(run.data)
    names = run.task.answer_names(run.data)
    if names and run.resume == "auto":
        from vlp_fast.engine.same_data import check_same_answers

        file = getattr(run.task, "answers", None)
        check_same_answers(run.directory, names, (file,) if file else run.data.root)


@contextlib.contextmanager
def restored(run: RunConfig) -> Iterator[Experiment]:
    """A recorded run's experiment with the model of its newest checkpoint; notes are printed.

    Where several processes were started, it is theirs together until the end of the context.

    Raises:
        InputError: whatever is wrong with the folder or the data.
    """
    from vlp_fast.engine.world import together, told_of_loss, world_of

    with world_of(run.train) as world, told_of_loss(world):
        with together(world):
            experiment = _restore(run, world)
        yield experiment


def is_started(asked: Recorded, command: str, words: list[str]) -> int | None:
    """Start the processes that are asked for, unless this is one of them.

    Returns:
        Their exit code; None where the work is this process's own.

    Raises:
        InputError: if others were started already, of another number.
    """
    if is_first():
        check_launched(asked.processes, "--processes")
    if asked.processes == 1 or is_launched():
        return None
    return launch(asked.processes, [command, *words], complain)


def _restore(run: RunConfig, world: World) -> Experiment:
    from vlp_fast.engine.restore import restore_experiment

    experiment = restore_experiment(run, note, world)
    for line in experiment.notes:
        note(line)
    held_out, train = run.data.held_out_split, run.data.train_split
    # Files of one name may answer to two: NLVR2's dev is its val, too.
    is_same = experiment.task.held_out.name == experiment.task.train.name
    if is_same or set(held_out.split("+")) & set(train.split("+")):
        note(f"split {held_out}: the run was trained on {train}")
    return experiment


def note(line: str) -> None:
    """Print a line that a person should know; the first of several processes does for all."""
    if is_first():
        print(f"note: {printable(line)}")
