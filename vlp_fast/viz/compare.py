"""Several runs on one page, and in one table on the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from vlp_fast.data.printable import printable
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.recorded_run import restore_run
from vlp_fast.errors import InputError
from vlp_fast.viz.chart import swatch
from vlp_fast.viz.page import Section, page
from vlp_fast.viz.report import charts
from vlp_fast.viz.settings import settings_of
from vlp_fast.viz.tables import Html, numbers_of, table
from vlp_fast.whole_file import write_whole

Rows = Sequence[dict[str, Any]]


def read_runs(folders: Sequence[Path]) -> dict[str, Rows]:
    """What was logged of each run, by the shortest names that tell the folders apart.

    Raises:
        InputError: if a folder has no metrics.jsonl, or one is given twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run folder is given twice; give different ones")
    found: dict[str, Rows] = {}
    for name, folder in zip(_names(folders), folders, strict=True):
        rows = read_journal(folder / "metrics.jsonl")
        if not rows:
            raise InputError(f"{printable(folder)}: has no metrics.jsonl with a line; train first")
        found[name] = rows
    return found


def last_figures(runs: dict[str, Rows]) -> tuple[list[str], list[list[object]]]:
    """A table: its head, and a row for each held-out figure that any run has; the last ones."""
    last = {}
    for name, rows in runs.items():
        held_out = [row for row in rows if row.get("kind") == "held_out"]
        last[name] = held_out[-1] if held_out else {}
    figures = dict.fromkeys(figure for row in last.values() for figure in numbers_of(row))
    body: list[list[object]] = [["step", *(row.get("step") for row in last.values())]]
    body += [[figure, *(row.get(figure) for row in last.values())] for figure in figures]
    return ["figure", *last], body


def write_comparison(folders: Sequence[Path], runs: dict[str, Rows], out: Path) -> None:
    """Write a page of curves, last figures, and settings that differ.

    Raises:
        InputError: if the file cannot be written.
    """
    (first, *names), rows = last_figures(runs)
    head = [first, *map(_marked, range(len(names)), names)]
    said = '<p class="of">Solid: training. Dashed: held out.</p>'
    sections = [
        Section(title="Last held-out figures", body=table(head, rows)),
        Section(title="Curves", body=f"{said}{_legend(list(runs))}{charts(runs)}"),
        Section(title="Settings that differ", body=_differing(folders, list(runs))),
    ]
    text = page("Runs compared", ", ".join(runs), sections)
    try:
        write_whole(out, lambda partial: partial.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{printable(out)}: cannot be written ({error.strerror})") from None


def _marked(number: int, name: str) -> Html:
    """The head of a run's column, with its colour and mark."""
    return Html(f"{swatch(number)} {escape(printable(name))}")


def _legend(names: Sequence[str]) -> str:
    entries = (f"<span>{_marked(number, name)}</span>" for number, name in enumerate(names))
    return f'<div class="legend">{"".join(entries)}</div>'


def _differing(folders: Sequence[Path], names: list[str]) -> str:
    try:
        settings = [settings_of(restore_run(folder)) for folder in folders]
    except InputError:  # whose message has the path of the run
        return "<p>Not known: the settings of a run could not be read.</p>"
    every = dict.fromkeys(name for one in settings for name in one)
    rows = [[name, *(one.get(name) for one in settings)] for name in every]
    rows = [row for row in rows if len({*row[1:]}) > 1]
    head = ["setting", *map(_marked, range(len(names)), names)]
    return table(head, rows) if rows else "<p>None.</p>"


def _names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or what tells them apart where that is the same."""
    short = [folder.resolve().name for folder in folders]
    if len(set(short)) == len(short):
        return short
    top = os.path.commonpath([folder.resolve() for folder in folders])
    return [os.path.relpath(folder.resolve(), top) for folder in folders]
