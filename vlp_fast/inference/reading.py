"""Pictures are seen, and texts read beside them, each as if it were alone.

Pictures of one size go through the CNN together, and each goes once, however many texts are read
beside it. Nothing is padded: padding that a CNN never met moves its features at the border.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.inference.trained import Trained
from vlp_fast.models.model import Seen
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing, make_packing
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.inputs import flat

T = TypeVar("T")

PIXELS = 8 * 800 * 1333
"""Of the pictures that a CNN sees at once, at most."""
ROWS = 16_384
"""Of texts and cells that an encoder reads at once, at most; one sequence always fits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenTogether:
    """Pictures of one size that a model has seen.

    Attributes:
        places: which of the pictures that were given.
        seen: what they became.
        grid: of their cells, on the device.
    """

    places: tuple[int, ...]
    seen: Seen
    grid: Grid


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadTogether:
    """Sequences of pictures of one size that a model has read.

    Attributes:
        places: which of the texts that were given.
        memory: (T, D) rows.
        packing: of the sequences, on the device.
        grid: of the cells, on the device.
    """

    places: tuple[int, ...]
    memory: Tensor
    packing: Packing
    grid: Grid


@torch.inference_mode()
def see(trained: Trained, pictures: Sequence[Example], *, codes: bool) -> Iterator[SeenTogether]:
    """Show a model pictures, those of one size together.

    Args:
        trained: the model.
        pictures: B of them.
        codes: as of `VisionLanguageModel.see`.
    """
    by_size: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        by_size[picture.size].append(place)
    device, model = trained.runtime.device, trained.model
    for (height, width), alike in by_size.items():
        for places in _cut(alike, max(1, PIXELS // (height * width))):
            images, sizes, grid = batch_images([pictures[place] for place in places], model)
            grid = grid.to(device)
            with trained.runtime.autocast():
                seen = model.see(images.to(device), grid, sizes, codes=codes)
            yield SeenTogether(places=places, seen=seen, grid=grid)


@torch.inference_mode()
def read(
    trained: Trained,
    pictures: Sequence[Example],
    texts: Sequence[list[int]],
    image_of: Sequence[int],
    *,
    first_rows: bool = False,
) -> Iterator[ReadTogether]:
    """Read texts beside pictures.

    Args:
        trained: the model.
        pictures: B of them.
        texts: S texts as token ids; [] for a picture without a text.
        image_of: the picture of each.
        first_rows: compute [CLS] alone in the last layer: memory is (S, D), a row a sequence.
    """
    beside: defaultdict[int, list[int]] = defaultdict(list)
    for place, picture in enumerate(image_of):
        beside[picture].append(place)
    model, device = trained.model, trained.runtime.device
    for group in see(trained, pictures, codes=trained.codes):
        cells = group.grid.sizes[0][0] * group.grid.sizes[0][1]
        sequences = [
            (place, number)
            for number, picture in enumerate(group.places)
            for place in beside[picture]
        ]
        for block in _blocks(sequences, [cells + len(texts[place]) for place, _ in sequences]):
            places = tuple(place for place, _ in block)
            ids = [texts[place] for place in places]
            packing = make_packing([len(i) for i in ids], [n for _, n in block], group.grid)
            packing = packing.to(device)
            reader = model.read_first if first_rows else model.read
            with trained.runtime.autocast():
                memory = reader(flat(ids).to(device), group.seen, group.grid, packing)
            yield ReadTogether(places=places, memory=memory, packing=packing, grid=group.grid)


def read_each(
    trained: Trained,
    pictures: Sequence[Example],
    texts: Sequence[list[int]],
    image_of: Sequence[int],
    make: Callable[[ReadTogether], Iterable[T]],
    *,
    first_rows: bool = False,
) -> list[T]:
    """What is made of each text beside its picture, in the order of the texts.

    Args:
        trained, pictures, texts, image_of, first_rows: as of `read`.
        make: results of the sequences that were read together, in their order.
    """
    results: dict[int, T] = {}
    for group in read(trained, pictures, texts, image_of, first_rows=first_rows):
        with torch.inference_mode(), trained.runtime.autocast():
            results |= zip(group.places, make(group), strict=True)
    return [results[place] for place in range(len(texts))]


def _cut(places: list[int], count: int) -> Iterator[tuple[int, ...]]:
    return (tuple(places[start : start + count]) for start in range(0, len(places), count))


def _blocks(
    sequences: list[tuple[int, int]], lengths: list[int]
) -> Iterator[list[tuple[int, int]]]:
    """Sequences one behind another, as many at a time as rows allow."""
    block: list[tuple[int, int]] = []
    rows = 0
    for sequence, length in zip(sequences, lengths, strict=True):
        if block and rows + length > ROWS:
            yield block
            block, rows = [], 0
        block.append(sequence)
        rows += length
    if block:
        yield block
