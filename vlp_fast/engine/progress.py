"""What a person sees of a run, and what a program reads: a bar or plain lines, and JSONL."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vlp_fast.data.printable import printable
from vlp_fast.engine.whole_file import write_whole
from vlp_fast.errors import InputError


class Journal:
    """Appends one json object a line to metrics.jsonl; a resumed run drops what it will redo."""

    def __init__(self, path: Path, *, start_step: int) -> None:
        self._path = path
        kept = [row for row in read_journal(path) if row["step"] <= start_step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
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
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror}); free some space, and the same command goes "
        "on from the newest checkpoint"
    )


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; an unfinished last line is left out."""
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


class _Lines(Console):
    """Where rich would end the program by itself, its caller is told that nobody reads."""

    def on_broken_pipe(self) -> None:
        raise


class Display:
    """A progress bar on a terminal, one plain line per logged step elsewhere."""

    def __init__(self, *, total: int, start: int) -> None:
        self._console = _Lines(stderr=False, highlight=False, soft_wrap=True, emoji=False)
        self._total, self._start, self._began = total, start, time.monotonic()
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
            self._bar.start()

    def say(self, text: str) -> None:
        """Print one line above the bar, whatever the text holds."""
        self._console.print(printable(text), markup=False)

    def step(self, step: int) -> None:
        """Move the bar."""
        if self._bar:
            self._bar.update(self._task, completed=step)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Show the latest figures."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar:
            self._bar.update(self._task, description=text)
        else:
            self.say(f"step {step}/{self._total}  eta {self._eta(step)}  {text}")

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar:
            self._bar.stop()

    def _eta(self, step: int) -> str:
        pace = (time.monotonic() - self._began) / max(step - self._start, 1)
        seconds = int(pace * (self._total - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
