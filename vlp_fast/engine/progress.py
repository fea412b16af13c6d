"""What a person sees of a run, and what a program reads: a bar or plain lines, and JSONL."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_whole

UNSHOWN = ("tokens_per_second", "tflops", "loss_scale")
"""Figures of training that are written and not printed: a line has enough of them."""


class Journal:
    """Appends one json object a line to metrics.jsonl; a resumed run drops what it will redo.

    Args:
        path: the file, which is rewritten.
        start_step: rows beyond this step are dropped.
        cut: so is the row of training of this step, whose figures enter the next one again.
        say: gets one line if some lines are damaged, which are dropped too.
    """

    def __init__(
        self,
        path: Path,
        *,
        start_step: int,
        cut: bool = False,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        self._path = path
        rows, damaged = _read(path)
        last = {"train": start_step - cut}
        kept = [row for row in rows if row["step"] <= last.get(str(row.get("kind")), start_step)]
        text = "".join(map(_line, kept))
        if damaged and start_step:
            say(f"{path}: lines that are no rows are left out: {damaged}")
        try:
            write_whole(path, lambda partial: partial.write_text(text))
        except OSError as error:
            raise _unwritable(path, error) from None

    def last_step(self, kind: str) -> int:
        """The last step with a row of that kind; -1 if there is none."""
        return max(
            (int(r["step"]) for r in read_journal(self._path) if r.get("kind") == kind), default=-1
        )

    def write(self, **row: object) -> None:
        """Append one row."""
        append_row(self._path, row)


def append_row(path: Path, row: dict[str, object]) -> None:
    """Append a json object to a file of one a line.

    Raises:
        InputError: if the disk is full or the file cannot be written.
    """
    try:
        with path.open("a") as file:
            file.write(_line(row))
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror}); free some space, and the same command goes "
        "on from the newest checkpoint"
    )


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; damaged lines are left out, a figure that is not finite None."""
    return _read(path)[0]


def _line(row: dict[str, Any]) -> str:
    """A row as strict json, which knows neither NaN nor infinity."""
    strict = {
        name: None if isinstance(x, float) and not math.isfinite(x) else x
        for name, x in row.items()
    }
    return json.dumps(strict) + "\n"


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows, and how many lines are none."""
    text = path.read_text(errors="replace") if path.is_file() else ""
    lines = [line for line in text.split("\n") if line]
    rows = [row for row in map(_row, lines) if row is not None]
    return rows, len(lines) - len(rows)


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


class _Lines(Console):
    """Where rich would end the program by itself, its caller is told that nobody reads."""

    def on_broken_pipe(self) -> None:
        raise


class Display:
    """A progress bar on a terminal, one plain line per logged step elsewhere."""

    def __init__(self, *, total: int, start: int) -> None:
        self._console = _Lines(stderr=False, highlight=False, soft_wrap=True, emoji=False)
        self._total = total
        self._begin(start)
        self._bar: Progress | None = None
        if sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("{task.completed}/{task.total}"),
                BarColumn(bar_width=24),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=total, completed=start)

    def open(self) -> None:
        """Begin to show the bar."""
        if self._bar:
            self._bar.start()

    def say(self, text: str) -> None:
        """Print one line above the bar, whatever the text holds."""
        self._console.print(printable(text), markup=False)

    def step(self, step: int) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.update(self._task, completed=step)

    def go_back(self, step: int) -> None:
        """The run goes on from an earlier step: how long it takes is reckoned from there."""
        self._begin(step)
        self.step(step)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Show the latest figures, but for those that one looks up in the file."""
        shown = {name: value for name, value in values.items() if name not in UNSHOWN}
        text = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        if self._bar:
            self._bar.update(self._task, description=text)
        else:
            self.say(f"step {step}/{self._total}  eta {self._eta(step)}  {text}")

    def close(self) -> None:
        """Leave the terminal as it was, if there still is one."""
        if self._bar:
            with contextlib.suppress(OSError):
                self._bar.stop()

    def _begin(self, step: int) -> None:
        self._start, self._began = step, time.monotonic()

    def _eta(self, step: int) -> str:
        pace = (time.monotonic() - self._began) / max(step - self._start, 1)
        seconds = int(pace * (self._total - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
