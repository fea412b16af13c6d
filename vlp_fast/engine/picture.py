"""report.png: what the run looked like and what the model does with held-out samples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from vlp_fast.data.printable import printable
from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.glyphs import fit_fonts
from vlp_fast.engine.progress import read_journal
from vlp_fast.errors import InputError
from vlp_fast.tasks.task import Task
from vlp_fast.whole_file import write_whole

COLUMNS = 4
"""Of curves, and of most tasks' pictures."""


def try_report(restore: Callable[[], Experiment]) -> None:
    """Draw the report of a run that is complete: what goes wrong with it is one line, no error.

    Args:
        restore: makes the trained experiment.
    """
    try:
        draw_report(restore())
    except Exception as error:  # whatever a font, a disk or a memory that is too small brings up
        kind = None if isinstance(error, InputError) else type(error).__name__
        reason = ": ".join(part for part in (kind, printable(error)) if part)
        print(f"note: no report.png ({reason}); the run itself is complete")


@torch.no_grad()
def draw_report(experiment: Experiment) -> Path | None:
    """Draw report.png of a trained model into its run folder; None where matplotlib is missing.

    Raises:
        InputError: if the folder cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        print("report.png needs matplotlib: pip install 'vlp-fast[viz]'")
        return None
    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # captions are not mathematics
    from matplotlib import pyplot

    run, task = experiment.run, experiment.task
    task.learner.eval()
    journal = read_journal(run.directory / "metrics.jsonl")
    names = _curves(task, journal)
    rows = -(-len(names) // COLUMNS), task.panel_rows
    figure = pyplot.figure(figsize=(4 * COLUMNS, 3.6 * sum(rows)), layout="constrained")
    heights = [height for height in rows if height] or [1]
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)
    if names:
        _draw_curves(parts[0, 0], rows[0], names, journal)
    if task.panel_rows:
        task.draw(parts[-1, 0], experiment.held_out())
    figure.suptitle(f"{run.name}: losses and held-out samples", fontsize=14)
    if note := fit_fonts(figure):
        print(f"note: report.png: {note}")
    path = run.directory / "report.png"
    try:
        write_whole(path, lambda partial: figure.savefig(partial, dpi=80, format="png"))
    except OSError as error:
        raise InputError(
            f"{printable(path)}: cannot be written ({error.strerror}); free some space, make the "
            "folder writable, or do without the picture (train: --train.no-picture; evaluate: "
            "--split NAME)"
        ) from None
    finally:
        pyplot.close(figure)
    print(f"picture: {printable(path)}")
    return path


def _curves(task: Task, journal: list[dict[str, Any]]) -> list[str]:
    """Names of the losses that training had, the task's own first."""
    names = dict.fromkeys(chain(*(s.objective.curves for s in reversed(task.stages()))))
    had = {name for row in journal if row.get("kind") == "train" for name in row}
    return [name for name in names if name in had]


def _draw_curves(figure: Any, rows: int, names: list[str], journal: list[dict[str, Any]]) -> None:
    training = [row for row in journal if row.get("kind") == "train"]
    held_out = [row for row in journal if row.get("kind") == "held_out"]
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axis, name in zip(axes, names, strict=False):
        points = [(r["step"], r[name]) for r in training if name in r]
        axis.plot(*zip(*points, strict=True), marker=".", label="training")
        points = [(r["step"], r[name]) for r in held_out if name in r]
        if points:
            axis.plot(*zip(*points, strict=True), "o", label="held out")
        axis.set_title(f"{name} loss" if name != "loss" else "loss")
        axis.set_xlabel("step")
        axis.legend()
    for axis in axes[len(names) :]:
        axis.axis("off")
