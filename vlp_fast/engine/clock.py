"""How fast a run is between two logged lines."""

from __future__ import annotations

import time

from vlp_fast.engine.world import ALONE, World
from vlp_fast.tasks.inputs import Inputs

TIMED = frozenset(
    {
        "images_per_second",
        "tokens_per_second",
        "data_wait_percent",
        "tflops",
        "mfu_percent",
        "memory_gib",
    }
)
"""Figures of a line that another machine, or another hour, would have other values of."""


class Clock:
    """Counts since it was made; nothing here asks the device.

    Attributes:
        waited: seconds for the next batch.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self._began = time.monotonic()
        self._samples = 0
        self._tokens = 0

    def count(self, inputs: Inputs) -> None:
        """A shard."""
        self._samples += len(inputs.image_ids)
        self._tokens += inputs.tokens

    def figures(
        self,
        world: World = ALONE,
        *,
        memory_gib: float = 0.0,
        operations: tuple[float, float] | None = None,
        peak: float | None = None,
    ) -> dict[str, float]:
        """Of all processes, which call this together.

        Samples and tokens a second, none of padding; in percent, time that the slowest waited for
        data, and what of its peak a device reaches with operations that are not of padding (MFU).
        TFLOP/s are a process's on average, memory is of the largest.

        Args:
            world: the processes.
            memory_gib: that this process takes.
            operations: of this process since the clock was made, all and those not of padding;
                None where they are not known.
            peak: TFLOP/s of its device, if known.
        """
        seconds = max(time.monotonic() - self._began, 1e-9)
        counts = (self._samples, self.waited, self._tokens)
        said = world.all_values((*counts, memory_gib, operations))
        samples, waited, tokens, memory, done = zip(*said, strict=True)
        found = {
            "images_per_second": sum(samples) / seconds,
            "tokens_per_second": sum(tokens) / seconds or None,
            "data_wait_percent": 100 * max(waited) / seconds,
            **_rates(done, seconds, peak),
            "memory_gib": max(memory) or None,
        }
        return {name: value for name, value in found.items() if value is not None}


def _rates(
    done: tuple[tuple[float, float] | None, ...], seconds: float, peak: float | None
) -> dict[str, float | None]:
    """Of a process on average; nothing where one of them does not know what it has computed."""
    known = [of_one for of_one in done if of_one is not None]
    if len(known) < len(done):
        return {}
    every, useful = (sum(part) / len(done) / seconds / 1e12 for part in zip(*known, strict=True))
    return {"tflops": every, "mfu_percent": 100 * useful / peak if peak else None}
