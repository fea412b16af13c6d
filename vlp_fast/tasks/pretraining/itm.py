"""Image-text matching: is this the text of this picture? (E2E-VLP section 3.1.2; SOHO eq. 8.)

A foreign text is a caption of another image of the same data set (another pool would give the
answer away by style), also where a run learns from a mixture of several. Where the data set can
tell whether a caption happens to be true of the picture, such a caption is drawn again; after
`TRIALS` draws it is taken after all.
"""

from __future__ import annotations

import numpy as np

from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError

TRIALS = 16
"""Draws before a caption that may be true of the picture is accepted after all."""


def draw_own_captions(
    captions: tuple[str, ...], count: int, generator: np.random.Generator
) -> list[str]:
    """Draw captions of the image itself, without repetition as long as there are enough.

    Raises:
        ValueError: if it has none.
    """
    if not captions:
        raise ValueError("draw_own_captions: received no caption, expected at least one")
    order = list(generator.permutation(len(captions)))
    while len(order) < count:
        order += list(generator.permutation(len(captions)))
    return [captions[i] for i in order[:count]]


def draw_foreign_caption(
    dataset: Dataset, index: int, generator: np.random.Generator, *, pool: int | None = None
) -> str:
    """Draw a caption of another image.

    Args:
        dataset: where images and captions come from.
        index: the image to which the caption must not belong.
        generator: source of all randomness.
        pool: draw only from the first `pool` records (a curriculum's pool); all if None.

    Raises:
        InputError: if no other image has a caption that is not the picture's own as well.
    """
    size = min(pool or len(dataset.records), len(dataset.records))
    peers = dataset.peers(index, size)
    own = set(dataset.records[index].captions)
    candidate = None
    for _ in range(TRIALS if len(peers) else 0):
        other = int(peers[int(generator.integers(len(peers)))])
        captions = dataset.records[other].captions
        if other == index or not captions:
            continue
        text = captions[int(generator.integers(len(captions)))]
        if text in own:
            continue
        candidate = text
        if dataset.describes is None or not dataset.describes(index, text):
            return text
    return candidate or _any_foreign_caption(dataset, index, size, generator)


def _any_foreign_caption(
    dataset: Dataset, index: int, size: int, generator: np.random.Generator
) -> str:
    """Where nearly all captions are the same, look at every record instead of drawing on."""
    own = set(dataset.records[index].captions)
    start = int(generator.integers(size))
    for others in (dataset.peers(index, size), range(size)):
        for offset in range(len(others)):
            for text in dataset.records[others[(start + offset) % len(others)]].captions:
                if text not in own:
                    return text
    elsewhere = [text for text in dataset.foreign_captions if text not in own]
    if elsewhere:
        return elsewhere[start % len(elsewhere)]
    raise InputError(
        f"{dataset.records[index].path}: {dataset.name} has no caption that is not this "
        f"picture's own as well, among {size} pictures; matching needs foreign ones"
    )
