"""How far a long copy is: a line now and then, with the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

EVERY = 5.0
"""Seconds between two lines."""


class Meter:
    """Counts bytes, from any number of threads.

    Args:
        what: begins each line, as in "packing".
        total: bytes that there will be; None where nobody says.
        say: gets a line each five seconds.
        done: bytes of an earlier try, which tell nothing of the speed of this one.
        clock: seconds.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        say: Callable[[str], object],
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._say, self._clock = what, total, say, clock
        self._before = self._done = done
        self._start = self._said = clock()
        self._lock = Lock()

    def add(self, size: int) -> None:
        """Count bytes that are done."""
        with self._lock:
            self._done += size
            now = self._clock()
            if now - self._said >= EVERY:
                self._said = now
                self._say(self._line(now))

    def _line(self, now: float) -> str:
        speed = (self._done - self._before) / max(now - self._start, 1e-9)
        rate = f"{speed / 2**20:.1f} MiB/s"
        if self._total is None:
            return f"{self._what}: {shown_bytes(self._done)}, {rate}"
        left = shown_time(max(self._total - self._done, 0) / max(speed, 1))
        share = f"{shown_bytes(self._done)} of {shown_bytes(self._total)}"
        return f"{self._what}: {share}, {rate}, {left} left"


def shown_bytes(size: float) -> str:
    """As people read it: "18.1 GiB"."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def shown_time(seconds: float) -> str:
    """As people read it: "2 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
