"""The best checkpoint of a run by a held-out figure: `best`, a run folder with this one in it.

Its files are hard links to those of the checkpoint, where the file system has such: second names,
no second copy. So it stays when that one is deleted, and whatever takes a run folder takes it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from pathlib import Path

from vlp_fast.engine.checkpoint import PARTIAL, clear, remove
from vlp_fast.errors import InputError
from vlp_fast.weights.checkpoints import (
    AVERAGE,
    FILES,
    checkpoint_name,
    complete_checkpoints,
    step_of,
)
from vlp_fast.whole_file import sync, write_json, write_whole

BEST, RECORD = "best", "best.json"
OF_A_RUN = ("run.json", "vocab.txt")


class Best:
    """Keeps the best checkpoint of a run.

    Higher is better, but for `loss`, for what ends in `_loss`, and for a name behind a minus.

    Args:
        folder: the run folder.
        asked: the figure's name; empty to keep none.
    """

    def __init__(self, folder: Path, asked: str) -> None:
        self._folder = folder
        self._name = asked.removeprefix("-")
        is_loss = self._name == "loss" or self._name.endswith("_loss")
        self._sign = -1.0 if is_loss or asked.startswith("-") else 1.0

    def is_beaten_by(self, step: int, figures: dict[str, float], *, ahead: int = 0) -> bool:
        """Whether a state is better than the best one of the steps up to its own.

        Args:
            step: of the state.
            figures: held-out ones.
            ahead: steps of samples that were passed over, which had their states, too.

        Raises:
            InputError: if there is no figure of that name, with those there are.
        """
        if not self._name:
            return False
        if self._name not in figures:
            raise InputError(
                f"--train.keep-best {self._name}: the held-out figures are "
                f"{', '.join(sorted(figures))}; give one of these, or leave the option out"
            )
        value = figures[self._name]
        known = self._known(step + ahead)
        return math.isfinite(value) and (known is None or self._sign * (value - known) > 0)

    def keep(self, step: int, figures: dict[str, float], *, ahead: int = 0) -> None:
        """Put the checkpoint of a step, which is on disk, in the place of the best one.

        Args:
            step, figures, ahead: as of `is_beaten_by`.

        Raises:
            InputError: if the disk is full or the folder cannot be written.
        """
        final = self._folder / BEST / checkpoint_name(step)
        try:
            record = {"figure": self._name, "value": figures[self._name], "step": step}
            self._write(final, record | ({"passed_over": ahead} if ahead else {}))
        except OSError as error:
            with contextlib.suppress(OSError):
                clear(final.with_name(PARTIAL))
            raise InputError(
                f"{final}: cannot be written ({error}); free some space, and the same command goes "
                "on from the newest checkpoint"
            ) from None

    def _write(self, final: Path, record: dict[str, object]) -> None:
        partial, there = final.with_name(PARTIAL), self._folder / final.name
        clear(partial)
        partial.mkdir(parents=True)
        averaged = (AVERAGE,) if (there / AVERAGE).exists() else ()
        for name in (*FILES, *averaged, "state.json"):
            _link(there / name, partial / name)
        write_json(partial / RECORD, record)  # which flushes the folder, too
        for name in OF_A_RUN:
            if (source := self._folder / name).exists():
                write_whole(final.parent / name, lambda path, s=source: shutil.copyfile(s, path))  # type: ignore[misc]
        remove(final)
        partial.rename(final)
        sync(final.parent)
        for other in complete_checkpoints(final.parent):
            if other != final:
                remove(other)

    def _known(self, shown: int) -> float | None:
        """The best value by so many steps of samples; later ones are of another run, or come."""
        values = []
        for path in complete_checkpoints(self._folder / BEST):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                record = json.loads((path / RECORD).read_text())
                of = step_of(path) + record.get("passed_over", 0)
                if of <= shown and record["figure"] == self._name:
                    values.append(float(record["value"]))
        return max(values, key=lambda value: self._sign * value, default=None)


def _link(source: Path, target: Path) -> None:
    """Another name for a file; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync(target)
