"""What other processes did to the machine meanwhile: a figure from a busy machine says so."""

from __future__ import annotations

import os
from pathlib import Path

STATISTICS = Path("/proc/stat")
IDLE = (3, 4)  # of its fields: idle, and waiting for a disk
FIELDS = 8  # the ninth and tenth, guests, are in the first two already


class OtherLoad:
    """The share of all CPUs that other processes take from when it is made."""

    def __init__(self) -> None:
        self._before = _seconds()

    def share(self) -> float | None:
        """Between 0 and 1; `None` where the system does not tell."""
        after = _seconds()
        if self._before is None or after is None:
            return None
        busy, own, total = (now - then for now, then in zip(after, self._before, strict=True))
        return min(1.0, max(0.0, busy - own) / total) if total > 0 else None


def _seconds() -> tuple[float, float, float] | None:
    """Of CPU time so far: busy, of these our own, and in all."""
    try:
        first = STATISTICS.read_text().splitlines()[0]
    except OSError:
        return None
    ticks = [int(field) for field in first.split()[1 : 1 + FIELDS]]
    per_second = os.sysconf("SC_CLK_TCK")
    busy = sum(value for place, value in enumerate(ticks) if place not in IDLE)
    own = sum(os.times()[:4])
    return busy / per_second, own, sum(ticks) / per_second
