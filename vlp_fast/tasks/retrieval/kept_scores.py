"""Rows of scores that are kept on disk while a long ranking is under way: it goes on after a kill.

A folder with what they are of, `ranking.json`, and a file for each group of pictures, whole or
absent. Where anything that scores depend on has changed, nothing is mixed: the folder is refused.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_json, write_whole

ABOUT = "ranking.json"
About = Mapping[str, str | int]


class KeptScores:
    """Groups of rows in a folder, which several processes may fill.

    Args:
        folder: that is theirs alone; made if it is not there. None keeps nothing, and so does one
            that cannot be written.
        about: what scores depend on, by name.
    """

    def __init__(self, folder: Path | None, about: About) -> None:
        self._folder = folder
        self._about = dict(about)
        self._digest = blake2b(json.dumps(self._about).encode(), digest_size=4).hexdigest()

    def open(self) -> None:
        """Say in the folder what is kept there; one of several processes does.

        Raises:
            InputError: if it holds scores of something else.
        """
        if self._folder is None:
            return
        path = self._folder / ABOUT
        if not path.exists():
            with contextlib.suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                write_json(path, self._about)
            return
        if difference := _difference(path, self._about):
            raise InputError(
                f"{printable(self._folder)}: holds scores of a ranking that was stopped, with "
                f"{difference}; ask for the same again to go on with it, or delete the folder to "
                "begin anew"
            )

    def get(
        self, number: int, shape: tuple[int, int], compute: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """The rows of a group as they are kept, or computed and kept."""
        if self._folder is None:
            return compute()
        path = self._folder / f"rows-{self._digest}-{number:06d}.npy"
        kept = _read(path, shape)
        if kept is not None:
            return kept
        rows = compute()
        with contextlib.suppress(OSError):  # a full disk costs the next run time, not this one
            write_whole(path, lambda partial: _write(partial, rows))
        return rows

    def drop(self) -> None:
        """Delete what is kept: the ranking is done."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # where another fold of the same evaluation is
                self._folder.parent.rmdir()


def _difference(path: Path, about: About) -> str:
    """What is kept there of something else, in words; "" if nothing is."""
    try:
        there = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        there = None
    if not isinstance(there, dict):
        return f"an unreadable {ABOUT}"
    names = [name for name in (*about, *there) if there.get(name) != about.get(name)]
    if not names:
        return ""
    then, now = (printable(of.get(names[0])) for of in (there, about))
    return f"another {names[0]} ({then} then, {now} now)"


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The rows of a file; None if it is no array of this shape, or not of numbers."""
    try:
        # A map takes no memory before its size is known to be that of the file.
        rows = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, OverflowError):
        return None
    if rows.shape != shape or rows.dtype != np.float32 or np.isnan(rows).any():
        return None
    return np.array(rows)


def _write(path: Path, rows: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
