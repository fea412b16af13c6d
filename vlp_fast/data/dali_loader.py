"""Steps whose images NVIDIA DALI decodes: as `loader.py` gives them, without worker processes.

Files, sizes and texts of a step are made here, in the thread of whoever iterates, and DALI decodes
meanwhile what was made before. Step n is the same wherever the range begins.

Where DALI refuses a file, those of its step are tried one by one, each by itself. What is refused
again is doubted: `read_image` has the last word on it, as everywhere; if it can read the file, its
pixels are sent, and if not, another image takes its place. Then the whole step goes through the
same operators again, so no image ever depends on what shares its batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from vlp_fast.data.ahead import ahead
from vlp_fast.data.dali_pipeline import DaliPipeline, OutOfOrder
from vlp_fast.data.encoded import EncodedBatch
from vlp_fast.data.order import Order
from vlp_fast.data.parts import changed, parts_of
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.errors import InputError

T = TypeVar("T")

AHEAD = 2
"""Steps that are on their way while one is used."""
ROUNDS = 64
"""Of replacing files that are refused by others, which may be refused too."""


class DaliLoader(Generic[T]):
    """Iterates over (step, collated examples) for given steps, with decoded images.

    Args:
        order, load, collate, steps: as of `Loader`; what `collate` gives holds an `EncodedBatch`
            where the images belong.
        doubt: is told of a file that DALI refuses; `load` then gives it decoded, or another one.
        threads: that decode.
        device: where the images are wanted.
    """

    def __init__(
        self,
        *,
        order: Order,
        load: Callable[[int, int, int], Any],
        collate: Callable[[list[Any], int, int], T],
        doubt: Callable[[PictureFile], None],
        threads: int,
        device: torch.device,
        steps: Sequence[int],
    ) -> None:
        self._steps = steps
        self._order = order
        self._load = load
        self._collate = collate
        self._doubt = doubt
        self._device = device
        self._main = DaliPipeline(threads=threads, device=device)
        self._threads = threads
        self._by_itself: DaliPipeline | None = None

    def __len__(self) -> int:
        return len(self._steps)

    def ahead(self) -> Iterator[tuple[int, T]]:
        """Yield the steps in order, made one ahead in a thread of its own."""
        return ahead(iter(self), len(self))

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Yield the steps in order.

        Raises:
            InputError: what `load` or `collate` raised, and if DALI fails without a bad file.
        """
        steps = iter(self._steps)
        waiting: deque[tuple[int, T]] = deque()
        while True:
            for step in islice(steps, 1 + AHEAD - len(waiting)):
                waiting.append((step, self._collated(step)))
                self._main.feed(_encoded(waiting[-1][1]), step)
            if not waiting:
                return
            yield self._taken(waiting)

    def _taken(self, waiting: deque[tuple[int, T]]) -> tuple[int, T]:
        """The step whose turn it is, which leaves those that wait."""
        step, inputs = waiting[0]
        try:
            images = self._main.take(step)
        except OutOfOrder:  # never seen; what waits is begun anew
            self._main = DaliPipeline(threads=self._threads, device=self._device)
            for ahead, later in waiting:
                self._main.feed(_encoded(later), ahead)
            images = self._main.take(step)
        waiting.popleft()
        return step, self._rescued(step) if images is None else _decoded(inputs, images)

    def _collated(self, step: int) -> T:
        epoch, batch = self._order.batch(step)
        examples = [self._load(index, epoch, step) for index in batch]
        inputs = self._collate(examples, epoch, step)
        if self._device.type == "cuda":
            inputs = changed(inputs, Tensor, Tensor.pin_memory)
        return inputs

    def _rescued(self, step: int) -> T:
        """A step of which DALI refused a file."""
        if self._by_itself is None:
            self._by_itself = DaliPipeline(threads=1, device=self._device)
        for _ in range(ROUNDS):
            inputs = self._collated(step)
            batch = _encoded(inputs)
            alone = [replace(batch, images=(image,)) for image in batch.images]
            refused = [one for one in alone if self._by_itself.decode(one) is None]
            if refused:
                for one in refused:
                    self._doubt(one.images[0].path)
            elif (images := self._by_itself.decode(batch)) is not None:
                return _decoded(inputs, images)
        raise InputError(
            f"--data.decoder dali: DALI fails on {len(batch.images)} images that it reads one by "
            "one, perhaps for want of memory; lower --data.longer, or use --data.decoder "
            "torchvision"
        )


def _encoded(inputs: object) -> EncodedBatch:
    (batch,) = parts_of(inputs, EncodedBatch)
    return batch


def _decoded(inputs: T, images: Tensor) -> T:
    decoded: T = changed(inputs, EncodedBatch, lambda _: images)
    return decoded
