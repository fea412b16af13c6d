"""`vlp-fast evaluate RUN_DIR`: held-out figures and report.png of a run's newest checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from vlp_fast.checks import AT_LEAST_ONE, NOT_NEGATIVE, check
from vlp_fast.cli.progress import Progress
from vlp_fast.cli.recorded import Recorded, TaskPlaces, is_started, note, recorded_run, restored
from vlp_fast.data.printable import printable
from vlp_fast.engine.launch import is_first

if TYPE_CHECKING:
    from vlp_fast.engine.experiment import Experiment

USAGE = """usage: vlp-fast evaluate RUN_DIR [--split NAME] [--images N] [--processes N]
       [--data.root PATH] [--task.answers FILE] [--task.fold N] [--task.beams N]"""


@dataclass(frozen=True, kw_only=True)
class TaskMeasures(TaskPlaces):
    """How the task measures, if otherwise than in the run."""

    kinds: ClassVar[dict[str, str]] = (
        TaskPlaces.kinds
        | dict.fromkeys(("captions", "fold", "shortlist"), "retrieval")
        | dict.fromkeys(("beams", "alpha"), "captioning")
    )

    captions: Literal["all", "five"] | None = None
    """Retrieval: all captions of a picture, or the first five."""
    fold: int | None = None
    """Retrieval: pictures that are ranked among themselves, as the 1000 of COCO's 1K."""
    shortlist: int | None = None
    """Retrieval: score only so many pairs of each picture and text, by a coarse look."""

    beams: int | None = None
    """Captioning: beams of the search; 1 for the likeliest word each time."""
    alpha: float | None = None
    """Captioning: how far length is made up for."""

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that cannot be."""
        check(self, NOT_NEGATIVE, "fold", "shortlist", "alpha")
        check(self, AT_LEAST_ONE, "beams")


@dataclass(frozen=True, kw_only=True)
class Evaluation(Recorded):
    """Print held-out figures of a run's newest checkpoint; without --split draw report.png too."""

    task: TaskMeasures = field(default_factory=TaskMeasures)


def run(words: list[str]) -> int:
    """Evaluate the newest checkpoint of a run folder."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse

    asked = parse(Evaluation, words, "vlp-fast evaluate")
    recorded = recorded_run(asked)
    if (code := is_started(asked, "evaluate", words)) is not None:
        return code
    with restored(recorded) as experiment:
        _evaluate(experiment)
    if asked.split is None and is_first():
        from vlp_fast.engine.picture import try_report
        from vlp_fast.engine.world import ALONE

        try_report(lambda: replace(experiment, world=ALONE))
    return 0


def _evaluate(experiment: Experiment) -> None:
    from vlp_fast.engine.evaluator import evaluate, evaluate_parts

    held_out = experiment.held_out()
    _say(f"of {held_out.described()}")
    run = experiment.run
    figures = evaluate(
        experiment,
        _say_replaced,
        progress=Progress(f"held-out {experiment.task.samples}", is_silent=not is_first()),
        folder=run.directory / f"evaluation-{run.data.held_out_split}",
    )
    _print(figures, experiment.task.columns)
    for line in experiment.task.remarks(figures, held_out):
        note(line)
    for of, found in evaluate_parts(experiment):
        _say(f"of {of}")
        _print(found, experiment.task.columns)


def _say(line: str) -> None:
    """Of several processes the first speaks."""
    if is_first():
        print(line)


def _print(figures: dict[str, float], columns: Sequence[str]) -> None:
    from vlp_fast.engine.figure_table import in_columns

    rest, table = in_columns(figures, columns)
    for name, value in rest.items():
        _say(f"{name:28s} {value:.4f}")
    for line in table:
        _say(line)


def _say_replaced(problems: Iterable[str]) -> None:
    for problem in problems:
        _say(f"replaced: {printable(problem)}")
