"""How fast a run is between two logged lines."""

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

    def count(self, inputs: Inputs) -> None:
        """A shard."""
        self._samples += len(inputs.image_ids)

    def figures(self, world: World = ALONE) -> dict[str, float]:
        """Of all processes, which call this together.

        Samples a second, and in percent the time that the slowest waited for data.
        """
        seconds = max(time.monotonic() - self._began, 1e-9)
        samples, waited = zip(*world.all_values((self._samples, self.waited)), strict=True)
        return {
            "images_per_second": sum(samples) / seconds,
            "data_wait_percent": 100 * max(waited) / seconds,
        }
