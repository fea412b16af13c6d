"""`vlp-fast compare RUN_DIR RUN_DIR ...`: several runs on one page and in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import UseAppendAction

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

USAGE = "usage: vlp-fast compare RUN_DIR RUN_DIR [RUN_DIR ...] [--out FILE.html]"


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Print the last held-out figures of several runs side by side, and write a page of curves."""

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """The runs' folders."""
    out: Path = Path("compare.html")
    """The page to write."""
    recipe_file: UseAppendAction[tuple[Path, ...]] = ()
    """A file of recipes of your own that a run was trained by; it is run. May be given more than
    once. A file that only a run's folder names is not run."""


def run(words: list[str]) -> int:
    """Print the table, write the page."""
    if not words:
        print(USAGE)
        return 2
    from vlp_fast.cli.options import parse
    from vlp_fast.data.given_paths import check_output

    asked: Compare = parse(Compare, words, "vlp-fast compare")
    if len(asked.run_dirs) < 2:
        raise InputError("give two run folders or more; `vlp-fast viz` shows a single one")
    check_output(asked.out, "--out")
    from vlp_fast.recipes import load_file
    from vlp_fast.viz.compare import last_figures, read_runs, write_comparison

    for file in asked.recipe_file:
        load_file(file)
    runs = read_runs(asked.run_dirs)
    for line in _lines(*last_figures(runs)):
        print(line)
    write_comparison(asked.run_dirs, runs, asked.out)
    _note_unknown(asked.run_dirs)
    print(f"page: {printable(asked.out)}")
    return 0


def _note_unknown(folders: Sequence[Path]) -> None:
    """Say why a run's settings are not on the page."""
    from vlp_fast.cli.recorded import note
    from vlp_fast.engine.recorded_run import restore_run

    for folder in folders:
        try:
            restore_run(folder)
        except InputError as error:
            note(f"settings are not compared ({error})")


def _lines(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    cells = [list(map(_shown, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))
