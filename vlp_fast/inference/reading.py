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
from vlp_fast.models.model import Seen, VisionLanguageModel
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing, make_packing
from vlp_fast.tasks.images import Sizes, batch_images
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shown:
    """Pictures of one size on the device, which no model has seen yet.

    Attributes:
        places: which of the pictures that were given.
        images: (B, 3, H, W) uint8.
        sizes: valid (height, width) of each in pixels.
        grid: of their cells.
    """

    places: tuple[int, ...]
    images: Tensor
    sizes: Sizes
    grid: Grid

    def seen_by(self, model: VisionLanguageModel, images: Tensor, codes: bool) -> Seen:
        """What the model makes of them, or of others in their place."""
        return model.see(images, self.grid, self.sizes, codes=codes)


@torch.inference_mode()
def see(trained: Trained, pictures: Sequence[Example], *, codes: bool) -> Iterator[SeenTogether]:
    """Show a model pictures, those of one size together.

    Args:
        trained: the model.
        pictures: B of them.
        codes: as of `VisionLanguageModel.see`.
    """
    for shown in _shown(trained, pictures):
        with trained.runtime.autocast():
            seen = shown.seen_by(trained.model, shown.images, codes)
        yield SeenTogether(places=shown.places, seen=seen, grid=shown.grid)


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
        pictures: B of them; the same object several times is seen once.
        texts: S texts as token ids; [] for a picture without a text.
        image_of: the picture of each.
        first_rows: compute [CLS] alone in the last layer: memory is (S, D), a row a sequence.
    """
    pictures, image_of = _each_once(pictures, image_of)
    beside: defaultdict[int, list[int]] = defaultdict(list)
    for place, picture in enumerate(image_of):
        beside[picture].append(place)
    for shown in _shown(trained, pictures):
        height, width = shown.grid.sizes[0]
        sequences = [
            (place, number)
            for number, picture in enumerate(shown.places)
            for place in beside[picture]
        ]
        lengths = [height * width + len(texts[place]) for place, _ in sequences]
        blocks = list(_blocks(sequences, lengths))
        seen = None
        if len(blocks) > 1:
            with trained.runtime.autocast():
                seen = shown.seen_by(trained.model, shown.images, trained.codes)
        for block in blocks:
            yield _read_block(trained, shown, seen, block, texts, first_rows=first_rows)


def _read_block(
    trained: Trained,
    shown: _Shown,
    seen: Seen | None,
    block: list[tuple[int, int]],
    texts: Sequence[list[int]],
    *,
    first_rows: bool,
) -> ReadTogether:
    """Texts beside pictures that are seen for them alone, or have been seen already."""
    model, device, grid = trained.model, trained.runtime.device, shown.grid
    ids = [texts[place] for place, _ in block]
    lengths, numbers = tuple(map(len, ids)), tuple(number for _, number in block)
    packing = make_packing(list(lengths), list(numbers), grid).to(device)
    reader = model.read_first if first_rows else model.read

    def forward(images: Tensor, text_ids: Tensor) -> Tensor:
        with trained.runtime.autocast():
            of_them = shown.seen_by(model, images, trained.codes) if seen is None else seen
            return reader(text_ids, of_them, grid, packing)

    inputs = shown.images, flat(ids).to(device)
    if seen is None:
        bucket = shown.images.shape, shown.sizes, lengths, numbers, first_rows
        memory = trained.graphs(bucket, forward, *inputs)
    else:
        memory = forward(*inputs)
    places = tuple(place for place, _ in block)
    return ReadTogether(places=places, memory=memory, packing=packing, grid=grid)


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


def _each_once(
    pictures: Sequence[Example], image_of: Sequence[int]
) -> tuple[list[Example], list[int]]:
    """Different objects, and which of them is meant."""
    places: dict[int, int] = {}
    of = [places.setdefault(id(picture), len(places)) for picture in pictures]
    unique = {id(picture): picture for picture in pictures}
    return [unique[key] for key in places], [of[place] for place in image_of]


def _shown(trained: Trained, pictures: Sequence[Example]) -> Iterator[_Shown]:
    """Pictures by size, as many at a time as a CNN should see."""
    by_size: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        by_size[picture.size].append(place)
    device = trained.runtime.device
    for (height, width), alike in by_size.items():
        for places in _cut(alike, max(1, PIXELS // (height * width))):
            chosen = [pictures[place] for place in places]
            images, sizes, grid = batch_images(chosen, trained.model)
            yield _Shown(places=places, images=images.to(device), sizes=sizes, grid=grid.to(device))


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
