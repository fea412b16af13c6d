"""How fast a run is, and what of its batches is padding, between two logged lines."""

from __future__ import annotations

import time

from vlp_fast.engine.world import ALONE, World
from vlp_fast.tasks.inputs import Inputs


class Clock:
    """Counts since it was made; nothing here asks the device.

    Attributes:
        waited: seconds for the next batch.
    """

    def __init__(self) -> None:
        self.waited = 0.0
        self._began = time.monotonic()
        self._samples = 0
        self._filled = 0
        self._padded = 0

    def count(self, inputs: Inputs) -> None:
        """A shard."""
        self._samples += len(inputs.image_ids)
        filled, padded = inputs.pixels
        self._filled += filled
        self._padded += padded

    def figures(self, world: World = ALONE) -> dict[str, float]:
        """Of all processes, which call this together.

        Samples a second, and in percent: time that the slowest waited for data, pixels that are
        padding.
        """
        seconds = max(time.monotonic() - self._began, 1e-9)
        counts = world.all_values((self._samples, self.waited, self._filled, self._padded))
        samples, waited, filled, padded = zip(*counts, strict=True)
        figures = {
            "images_per_second": sum(samples) / seconds,
            "data_wait_percent": 100 * max(waited) / seconds,
        }
        if sum(padded):
            figures["padding_percent"] = 100 * (1 - sum(filled) / sum(padded))
        return figures
