"""A sign of life from work of minutes to days: a line on standard error every ten seconds."""

from __future__ import annotations

import sys
import time

PATIENCE = 10.0
"""Seconds without one."""


class Progress:
    """Tells how much is done, and how long the rest takes at the latest pace.

    Args:
        what: of so many things, as in "image files".
        is_silent: says nothing, as all but the first of several processes do.
    """

    def __init__(self, what: str, *, is_silent: bool = False) -> None:
        self._what = what
        self._is_silent = is_silent
        self._told_at, self._told = time.monotonic(), 0

    def __call__(self, done: int, total: int) -> None:
        """Say so, if it is time to."""
        now = time.monotonic()
        passed = now - self._told_at
        if self._is_silent or passed <= PATIENCE:
            return
        left = ""
        if done > self._told:
            seconds = round(passed / (done - self._told) * (total - done))
            left = f", {seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"
        self._told_at, self._told = now, done
        print(f"{done:,} of {total:,} {self._what}{left}", file=sys.stderr, flush=True)
