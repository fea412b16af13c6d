"""`vlp-fast evaluate RUN_DIR`: held-out figures and report.png of a run's newest checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlp_fast.cli.recorded import Recorded, note, recorded_run, restore
from vlp_fast.data.printable import printable

USAGE = """usage: vlp-fast evaluate RUN_DIR [--split NAME] [--images N] [--data.root PATH]
       [--task.answers FILE]"""


@dataclass(frozen=True, kw_only=True)
class Evaluation(Recorded):
    """Print held-out figures of a run's newest checkpoint; without --split draw report.png too."""


def run(words: list[str]) -> int:
    """Evaluate the newest checkpoint of a run folder."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse

    asked = parse(Evaluation, words, "vlp-fast evaluate")
    experiment = restore(recorded_run(asked))
    from vlp_fast.engine.evaluator import evaluate, evaluate_parts
    from vlp_fast.engine.picture import try_report

    held_out = experiment.held_out()
    print(f"of {held_out.described()}")
    figures = evaluate(experiment, _say_replaced)
    _print(figures, experiment.task.columns)
    for line in experiment.task.remarks(figures, held_out):
        note(line)
    for of, found in evaluate_parts(experiment):
        print(f"of {of}")
        _print(found, experiment.task.columns)
    if asked.split is None:
        try_report(lambda: experiment)
    return 0


def _print(figures: dict[str, float], columns: Sequence[str]) -> None:
    from vlp_fast.engine.figure_table import in_columns

    rest, table = in_columns(figures, columns)
    for name, value in rest.items():
        print(f"{name:28s} {value:.4f}")
    for line in table:
        print(line)


def _say_replaced(problems: Iterable[str]) -> None:
    for problem in problems:
        print(f"replaced: {printable(problem)}")
