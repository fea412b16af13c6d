"""Which samples a step shows: pure functions of (seed, step), without any state.

The order of an epoch is one permutation cut into batches. Resuming needs the number of the next
step and nothing else, and whoever shows a step, on whatever process, shows the same samples.

Images of similar aspect are brought together to save padding: the permutation is cut into windows
of a few dozen batches, each window sorted by aspect and cut into batches, and the batches of the
window shuffled. Over an epoch a sample still occurs at most once and comes at a random time.

Of a mixture of data sets an epoch may show a part of some: another random one each time.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vlp_fast.data.randomness import generator


class Order(Protocol):
    """What a loader asks: the samples of a step."""

    def batch(self, step: int) -> tuple[int, list[int]]:
        """Return the epoch of a step, and the indices of its batch."""


class SampleOrder:
    """Random order for training; whole batches only.

    Where the batch size does not divide the number of samples, another random remainder is left
    out in each epoch.

    Args:
        num_samples: samples in the data set.
        batch_size: samples of one step.
        seed: of the run.
        aspects: (num_samples,) width / height; None for no grouping.
        window: batches that are sorted by aspect together.
        sources: (num_samples,) numbers from 0 of the data set that each sample is of.
        shares: how many samples of each data set an epoch shows; () for all of all.

    Raises:
        ValueError: if there is not one whole batch, or arguments are of other lengths.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        *,
        aspects: Sequence[float] | np.ndarray | None = None,
        window: int = 32,
        sources: Sequence[int] = (),
        shares: Sequence[int] = (),
    ) -> None:
        self.epoch_length = sum(shares) if shares else num_samples
        if not 0 < batch_size <= self.epoch_length:
            raise ValueError(
                f"SampleOrder: received batch_size={batch_size} for {self.epoch_length} samples, "
                "expected 1 to as many as there are; choose a smaller batch"
            )
        if aspects is not None and len(aspects) != num_samples:
            raise ValueError(
                f"SampleOrder: received {len(aspects)} aspects, expected one for each of the "
                f"{num_samples} samples"
            )
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self._aspects = None if aspects is None else np.asarray(aspects)
        self._window = window
        self._groups: np.ndarray | None = None
        self._chances = _chances(num_samples, sources, shares) if shares else None
        self._sources, self._shares = np.asarray(sources), shares
        self._latest: tuple[int, np.ndarray] | None = None

    def grouped(self, groups: Sequence[int]) -> SampleOrder:
        """This order, but for samples that come one behind another, as questions about one picture.

        Args:
            groups: (num_samples,) numbers from 0; samples of one number come together.

        Raises:
            ValueError: if there is not one number for each sample.
        """
        if len(groups) != self.num_samples:
            raise ValueError(
                f"SampleOrder.grouped: received {len(groups)} groups, expected one for each of the "
                f"{self.num_samples} samples"
            )
        made = copy.copy(self)
        made._groups, made._latest = np.asarray(groups), None
        return made

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of what an epoch shows."""
        return self.epoch_length // self.batch_size

    def batch(self, step: int) -> tuple[int, list[int]]:
        """Return the epoch of a step, and the indices of its batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        return epoch, self.epoch(epoch)[start : start + self.batch_size].tolist()

    def epoch(self, epoch: int) -> np.ndarray:
        """Return the (steps_per_epoch * batch_size,) int64 indices of a whole epoch.

        The latest epoch is kept, which saves time and changes nothing.
        """
        if self._latest is None or self._latest[0] != epoch:
            self._latest = (epoch, self._draw(epoch))
        return self._latest[1]

    def _draw(self, epoch: int) -> np.ndarray:
        draw = generator(self.seed, epoch, 0, "order")
        used = self.steps_per_epoch * self.batch_size
        indices = self._permutation(draw)[:used]
        if self._aspects is None:
            return indices
        length = self._window * self.batch_size
        windows = [indices[start : start + length] for start in range(0, used, length)]
        return np.concatenate([self.by_aspect(window, draw) for window in windows])

    def _permutation(self, draw: np.random.Generator) -> np.ndarray:
        """All samples, those of a group one behind another."""
        if self._groups is None:
            return self._shown(draw.permutation(self.num_samples))
        places = draw.permutation(int(self._groups.max()) + 1)
        return self._shown(np.argsort(places[self._groups], kind="stable"))

    def _shown(self, permutation: np.ndarray) -> np.ndarray:
        """The first of each data set, as many as an epoch shows of it."""
        if not self._shares:
            return permutation
        sources = self._sources[permutation]
        is_shown = np.zeros(len(permutation), dtype=bool)
        for source, share in enumerate(self._shares):
            is_shown[np.flatnonzero(sources == source)[:share]] = True
        return permutation[is_shown]

    def draw_from(self, pool: int, count: int, draw: np.random.Generator) -> np.ndarray:
        """Draw samples from the first `pool`, with repetition, each as often as epochs show it."""
        if self._chances is None:
            return draw.integers(pool, size=count)
        chances = self._chances[:pool]
        return draw.choice(pool, count, p=chances / chances.sum())

    def by_aspect(self, window: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Sort a window of whole batches by aspect, cut it into batches, shuffle the batches."""
        if self._aspects is None:
            return window
        alike = window[np.argsort(self._aspects[window], kind="stable")]
        batches = alike.reshape(-1, self.batch_size)
        return batches[draw.permutation(len(batches))].reshape(-1)


def _chances(num_samples: int, sources: Sequence[int], shares: Sequence[int]) -> np.ndarray:
    """(num_samples,) how likely an epoch shows each sample."""
    counts = np.bincount(sources, minlength=len(shares))
    if len(sources) != num_samples or len(counts) != len(shares) or (counts < shares).any():
        raise ValueError(
            f"SampleOrder: received shares {tuple(shares)} of {counts.tolist()} samples, "
            f"{len(sources)} in all, expected as many as there are or fewer of each, of "
            f"{num_samples}"
        )
    chances: np.ndarray = (np.asarray(shares) / np.maximum(counts, 1))[np.asarray(sources)]
    return chances


class EvaluationOrder:
    """Every sample exactly once; the last batch is what remains.

    Args:
        samples: numbers of the samples.
        batch_size: samples of one step.
        aspects: of each of them, width / height, by which they are sorted: a training step shows
            images of similar aspect, and padding that a CNN never met moves its features at the
            border (docs/measurements.md). None for the order as given.
    """

    def __init__(
        self,
        samples: Sequence[int],
        batch_size: int,
        *,
        aspects: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        self.batch_size = batch_size
        values = np.zeros(len(samples)) if aspects is None else np.asarray(aspects)
        self._order = [samples[place] for place in np.argsort(values, kind="stable").tolist()]

    @property
    def steps_per_epoch(self) -> int:
        """Batches in the data set, the incomplete one included."""
        return math.ceil(len(self._order) / self.batch_size)

    def batch(self, step: int) -> tuple[int, list[int]]:
        """Return the pass that a step belongs to, and the indices of its batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        return epoch, self._order[start : start + self.batch_size]
