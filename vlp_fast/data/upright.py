"""Pictures as people see them: rasters are stored turned or mirrored, and EXIF says how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable

if TYPE_CHECKING:  # annotation files, and sizes of pictures, are read without torch
    from torch import Tensor

# EXIF orientation -> (transpose, then mirror columns, then mirror rows) that makes it upright.
UPRIGHT = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Raster:
    """How the pixels of a file are stored.

    Attributes:
        stored_size: (height, width) of the raster in the file, before it is turned upright.
        orientation: EXIF orientation of the file, 1 .. 8; 1 is upright.
    """

    stored_size: tuple[int, int]
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        height, width = self.stored_size
        return (width, height) if UPRIGHT[self.orientation][0] else (height, width)


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Turn (3, H, W) pixels as stored upright."""
    transpose, mirror_columns, mirror_rows = UPRIGHT[orientation]
    if transpose:
        pixels = pixels.transpose(1, 2)
    flips = [axis for axis, flip in ((2, mirror_columns), (1, mirror_rows)) if flip]
    return pixels.flip(flips) if flips else pixels


def upright_boxes(
    boxes: np.ndarray, annotated: tuple[int, int], raster: Raster, path: PictureFile
) -> np.ndarray:
    """Turn annotated boxes along with the picture, into fractions of the upright picture.

    Annotations refer to the raster as stored in the file (COCO's convention) unless their size
    fits only the upright one. A raster that was resized after it was annotated is recognised by
    its aspect, and its boxes scale with it.

    Args:
        boxes: (n, 4) float, (x1, y1, x2, y2) in pixels of the annotated frame.
        annotated: (height, width) of that frame.
        raster: the file's.
        path: for the error.

    Returns:
        (n, 4) float32, (x1, y1, x2, y2) in [0, 1] of the upright picture.

    Raises:
        BrokenImage: if the annotated size has another aspect than the file.
    """
    turn = turn_of(annotated, raster)
    if turn is None:
        height, width = annotated
        stored_height, stored_width = raster.stored_size
        raise BrokenImage(
            f"{printable(path)}: is {stored_width}x{stored_height}, but the annotations say "
            f"{width}x{height}; boxes cannot be placed"
        )
    height, width = annotated
    fractions = boxes / np.array([width, height, width, height], dtype=np.float64)
    return np.asarray(_turned(fractions, turn).clip(0, 1), dtype=np.float32)


def turn_of(annotated: tuple[int, int], raster: Raster) -> int | None:
    """How the frame that is annotated is turned to be the upright picture, as EXIF numbers it.

    Returns:
        The raster's orientation, or 1 where the frame is upright; None where it is neither.
    """
    if _same_aspect(annotated, raster.stored_size):
        return raster.orientation
    return 1 if _same_aspect(annotated, raster.size) else None


def annotated_boxes(fractions: np.ndarray, turn: int) -> np.ndarray:
    """Turn boxes of the upright picture back into the frame that is annotated.

    Args:
        fractions: (n, 4) float64, (x1, y1, x2, y2) in [0, 1] of the upright picture.
        turn: of that frame.

    Returns:
        (n, 4), likewise of the frame.
    """
    transpose, mirror_columns, mirror_rows = UPRIGHT[turn]
    fractions = _mirrored(fractions, columns=mirror_columns, rows=mirror_rows)
    return fractions[:, [1, 0, 3, 2]] if transpose else fractions


def _turned(fractions: np.ndarray, turn: int) -> np.ndarray:
    transpose, mirror_columns, mirror_rows = UPRIGHT[turn]
    if transpose:
        fractions = fractions[:, [1, 0, 3, 2]]
    return _mirrored(fractions, columns=mirror_columns, rows=mirror_rows)


def _mirrored(fractions: np.ndarray, *, columns: bool, rows: bool) -> np.ndarray:
    fractions = fractions.copy()
    if columns:
        fractions[:, [0, 2]] = 1 - fractions[:, [2, 0]]
    if rows:
        fractions[:, [1, 3]] = 1 - fractions[:, [3, 1]]
    return fractions


def _same_aspect(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Equal up to the rounding of each side to whole pixels."""
    difference = abs(first[0] * second[1] - first[1] * second[0])
    return difference <= sum(first) + sum(second)
