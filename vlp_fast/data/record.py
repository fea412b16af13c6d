"""One image with what its data set says of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlp_fast.data.picture_file import PictureFile


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """One image with its annotations.

    Attributes:
        image_id: the id that the annotation files give.
        path: the image file: a path, or part of a shard.
        width: pixels, in the frame that `boxes` refer to; 1 where it is unknown.
        height: pixels, likewise.
        captions: whitespace collapsed; at least one where captions are what is learnt from.
        boxes: (n, 4) float32, (x1, y1, x2, y2) in pixels of the width x height frame, clipped to
            it, of positive extent.
        labels: (n,) int64, contiguous classes from 0.
        attributes: (n,) int64, -1 where none is annotated.
        coco_id: the picture's id in COCO, where the files tell it.
    """

    image_id: int
    path: PictureFile
    width: int
    height: int
    captions: tuple[str, ...]
    boxes: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    coco_id: int | None = None


def bare_record(image_id: int, path: PictureFile, size: tuple[int, int]) -> Record:
    """A picture without a word about it, of (height, width) pixels as it is stored."""
    height, width = size
    return Record(
        image_id=image_id,
        path=path,
        width=width,
        height=height,
        captions=(),
        boxes=np.zeros((0, 4), dtype=np.float32),
        labels=np.zeros(0, dtype=np.int64),
        attributes=np.zeros(0, dtype=np.int64),
    )
