"""One run on one page: curves, held-out figures, pictures, settings."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from vlp_fast.data.printable import printable
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.recorded_run import restore_run
from vlp_fast.errors import InputError
from vlp_fast.viz.chart import Look, chart
from vlp_fast.viz.page import Section, page, picture
from vlp_fast.viz.settings import changed, settings_of
from vlp_fast.viz.tables import numbers_of, table
from vlp_fast.whole_file import write_whole

PNG = b"\x89PNG\r\n\x1a\n"
KINDS = {"train": "training", "held_out": "held out"}
RUNNING = {
    *("lr", "gradient_norm", "loss_scale", "memory_gib", "data_wait_percent", "padding_percent"),
    *("images_per_second", "tokens_per_second", "tflops", "mfu_percent", "compilations"),
}
"""Figures of how a run goes, not of what it learns."""


def write_report(folder: Path, out: Path, more: Sequence[Section] = ()) -> None:
    """Write the page of a run.

    Args:
        folder: the run's.
        out: the HTML file.
        more: sections about what its model does.

    Raises:
        InputError: if the folder holds no run or nothing was logged, or the file cannot be written.
    """
    run, rows = _read(folder)
    sections = [
        Section(title="Held-out figures", body=held_out_table(rows)),
        Section(title="Curves", body=charts({"": rows})),
        *_pictures(folder),
        *more,
        Section(title="Settings", body=_settings(run)),
    ]
    last = max(int(row["step"]) for row in rows)
    text = page(run.name, f"{folder.name}, after {last:,} steps", sections)
    try:
        write_whole(out, lambda partial: partial.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{printable(out)}: cannot be written ({error.strerror})") from None


def check_page(folder: Path, out: Path) -> None:
    """Refuse a page that could not be made or written, before the model is asked.

    Raises:
        InputError: as of `write_report`.
    """
    _read(folder)
    if not os.access(out.parent, os.W_OK):
        raise InputError(
            f"{printable(out)}: cannot be written (its folder may not be written to); give another "
            "place with --out"
        )


def held_out_table(rows: Sequence[dict[str, Any]]) -> str:
    """The last figures of each split, by split."""
    last: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.get("kind") not in ("train", "rollback", None):
            last[str(row.get("of", row["kind"]))] = row
    if not last:
        return "<p>None yet.</p>"
    parts = []
    for of, row in last.items():
        numbers = numbers_of(row)
        parts.append(
            f'<p class="of">Step {int(row["step"]):,}, {escape(printable(of))}.</p>'
            + table(["figure", "value"], numbers.items())
        )
    return "\n".join(parts)


def charts(runs: dict[str, Sequence[dict[str, Any]]]) -> str:
    """A chart for each figure that some run has at two steps or more; how a run goes, folded.

    Several runs have a colour and a mark each, and what is held out is dashed; a run alone has its
    colours for either.

    Args:
        runs: the rows of each by its name; "" where there is but one.
    """
    curves, looks = _curves(runs), _looks(list(runs))
    drawn = {name: chart(name, of, looks) for name, of in curves.items()}
    learnt = "".join(svg for name, svg in drawn.items() if name not in RUNNING)
    ran = "".join(svg for name, svg in drawn.items() if name in RUNNING)
    folded = f'<details><summary>How it ran</summary><div class="charts">{ran}</div></details>'
    return f'<div class="charts">{learnt}</div>\n{folded if ran else ""}'


def _looks(names: Sequence[str]) -> dict[str, Look] | None:
    if len(names) < 2:
        return None
    return {
        f"{name} {what}".strip(): Look(number=number, dashed=kind == "held_out")
        for number, name in enumerate(names)
        for kind, what in KINDS.items()
    }


def _curves(
    runs: dict[str, Sequence[dict[str, Any]]],
) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Of each figure the curves by their names, the loss first."""
    found: defaultdict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for name, rows in runs.items():
        for row in rows:
            kind = KINDS.get(str(row.get("kind")))
            for figure, value in numbers_of(row).items() if kind else ():
                label = f"{name} {kind}".strip()
                found[figure].setdefault(label, []).append((row["step"], value))
    several = [n for n, curves in found.items() if any(len(c) > 1 for c in curves.values())]
    return {name: found[name] for name in sorted(several, key=lambda name: (name != "loss", name))}


def _read(folder: Path) -> tuple[RunConfig, list[dict[str, Any]]]:
    run, rows = restore_run(folder), read_journal(folder / "metrics.jsonl")
    if not rows:
        raise InputError(f"{printable(folder)}: metrics.jsonl has no line yet; train first")
    return run, rows


def _pictures(folder: Path) -> list[Section]:
    """report.png, where the run has one."""
    path = folder / "report.png"
    content = path.read_bytes() if path.is_file() else b""
    if not content.startswith(PNG):  # a stranger's may be a link to a file of one's own
        return []
    described = "losses, and held-out samples with what the model says about them"
    return [Section(title="Samples", body=picture(content, described))]


def _settings(run: RunConfig) -> str:
    others = changed(run)
    head = (
        table(["setting", "here", "in the recipe"], others)
        if others
        else "<p>Those of the recipe, but for places and what the data decide.</p>"
    )
    every = table(["setting", "value"], settings_of(run).items())
    return f"{head}\n<details><summary>All settings</summary>{every}</details>"
