"""What a batch derives from."""

from __future__ import annotations

from dataclasses import dataclass

from vlp_fast.data.records import Dataset


@dataclass(frozen=True)
class BatchKey:
    """What a batch is a pure function of, besides its examples and the run's seed.

    Attributes:
        dataset: where the examples are from.
        epoch: that keys all random draws.
        step: shard of training, counted from the first of the run; None for held-out data.
    """

    dataset: Dataset
    epoch: int
    step: int | None
