"""`vlp-fast evaluate RUN_DIR`: held-out figures and report.png of a run's newest checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlp_fast.checks import AT_LEAST_ONE, check
from vlp_fast.data.printable import printable

USAGE = "usage: vlp-fast evaluate RUN_DIR [--data.root PATH] [--split NAME] [--images N]"


def run(words: list[str]) -> int:
    """Evaluate the newest checkpoint of a run folder."""
    if not words:
        print(USAGE)
        return 2
    import tyro

    from vlp_fast.cli.options import parse

    config = (tyro.conf.PositionalRequiredArgs,)
    asked = parse(Evaluation, words, "vlp-fast evaluate", config=config)
    from vlp_fast import recipes  # whose tasks a run may name
    from vlp_fast.data.given_paths import check_root
    from vlp_fast.engine.recorded_run import recipe_file, restore_run

    if file := recipe_file(asked.run_dir):
        recipes.load_file(file)
    recorded = asked.of(restore_run(asked.run_dir))
    check_root(recorded.data.root)
    from vlp_fast.engine.evaluator import evaluate
    from vlp_fast.engine.picture import try_report
    from vlp_fast.engine.restore import restore_experiment

    experiment = restore_experiment(recorded, _note)
    for line in experiment.notes:
        _note(line)
    for name, value in evaluate(experiment, _say_replaced).items():
        print(f"{name:28s} {value:.4f}")
    if asked.split is None:
        try_report(lambda: experiment)
    return 0


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the run's data are now, if not where they were."""

    root: Path | None = None
    """The folder of the data set that the run was trained on."""
    objects_vocabulary: Path | None = None
    """Visual Genome's class names."""
    attributes_vocabulary: Path | None = None
    """Visual Genome's attribute names."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Print held-out figures of a run's newest checkpoint; without --split draw report.png too."""

    run_dir: Path
    """The run's folder."""
    data: Places = field(default_factory=Places)
    split: str | None = None
    """Another split than the run's own held-out one, as in train, val, test."""
    images: int | None = None
    """How many images at most, instead of the run's number."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number of images that cannot be."""
        check(self, AT_LEAST_ONE, "images")

    def of(self, run: Any) -> Any:
        """The run with these places, this split and this number."""
        moved = {name: path for name, path in vars(self.data).items() if path is not None}
        data, train = replace(run.data, **moved), run.train
        if self.split is not None:
            data = replace(data, held_out_split=self.split)
        if self.images is not None:
            train = replace(train, held_out_images=self.images)
        return replace(run, data=data, train=train)


def _note(line: str) -> None:
    print(f"note: {printable(line)}")


def _say_replaced(problems: Iterable[str]) -> None:
    for problem in problems:
        print(f"replaced: {printable(problem)}")
