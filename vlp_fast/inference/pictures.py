"""Whatever holds a picture, decoded and sized as the held-out pictures of a run are."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vlp_fast.data.broken_image import BrokenImage, TooLargeImage
from vlp_fast.data.config import DataConfig
from vlp_fast.data.examples import Example
from vlp_fast.data.images import read_image, rgb_of
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.transforms import resize, resized

CHANNELS = (1, 3, 4)
LONGEST = 1333
"""Pixels of the longer side where a run has no cap, DETR's: a photograph of 24 megapixels at its
own size would take a CNN tens of GiB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A picture as a model is shown it.

    Attributes:
        example: with pixels of the run's size.
        size: (height, width) of the upright picture as it came.
    """

    example: Example
    size: tuple[int, int]


PictureLike = (
    str | os.PathLike[str] | PictureFile | bytes | Image.Image | np.ndarray | Tensor | Opened
)
"""A path, part of a shard, the bytes of a file, a picture of Pillow's, (H, W, 3) or (H, W) uint8, a
(3, H, W) or (1, H, W) uint8 tensor; or one that was opened for the same model."""


def open_picture(
    picture: PictureLike, data: DataConfig, index: int = 0, *, name: str = "a picture"
) -> Opened:
    """Decode a picture and bring it to the size that a run's held-out pictures have.

    Args:
        picture: see `PictureLike`.
        data: sizes and limits of the run.
        index: a number for it.
        name: for messages about what has no path.

    Raises:
        BrokenImage: if it cannot be decoded, or is too large.
        TypeError: if it is no picture.
        ValueError: for an array or tensor of another shape or dtype.
    """
    if isinstance(picture, Opened):
        return picture
    pixels = _pixels(picture, name, data.max_pixels)
    size = (pixels.size(1), pixels.size(2))
    shorter = max(data.shorter_held_out) if data.shorter_held_out else None
    target = resized(size, shorter, data.longer or LONGEST)
    nothing = torch.zeros(0, dtype=torch.int64, device="cpu")
    example = Example(
        index=index,
        image_id=index,
        image=resize(pixels, target),
        captions=(),
        boxes=torch.zeros(0, 4, device="cpu"),
        labels=nothing,
        attributes=nothing,
    )
    return Opened(example=example, size=size)


@dataclass(frozen=True, kw_only=True)
class InMemory:
    """The bytes of a picture's file, as a `PictureFile`."""

    content: bytes = field(repr=False)
    name: str = "bytes of a picture"
    parent: None = None

    def __str__(self) -> str:
        return self.name

    def stat(self) -> os.stat_result:
        """A regular file of so many bytes."""
        return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, len(self.content), 0, 0, 0))

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """A stream of the bytes."""
        return io.BytesIO(self.content)


def _pixels(picture: Any, name: str, max_pixels: int) -> Tensor:
    """(3, H, W) uint8 RGB, upright."""
    if isinstance(picture, str | os.PathLike):
        return _of_file(Path(picture), max_pixels)
    if isinstance(picture, bytes | bytearray | memoryview):
        return _of_file(InMemory(content=bytes(picture), name=f"bytes of {name}"), max_pixels)
    if isinstance(picture, Image.Image):
        return _of_pillow(picture, name, max_pixels)
    if isinstance(picture, Tensor):
        return _of_array(_channels_last(picture, name), name, max_pixels)
    if isinstance(picture, np.ndarray):
        return _of_array(picture, name, max_pixels)
    if hasattr(picture, "open") and hasattr(picture, "stat"):  # a `PictureFile`
        return _of_file(picture, max_pixels)
    raise TypeError(
        f"received {type(picture).__name__} as {name}, expected a path, bytes, a PIL image, "
        "an array or a tensor, or a list of these"
    )


def _of_file(file: PictureFile, max_pixels: int) -> Tensor:
    try:
        return read_image(file, max_pixels=max_pixels).pixels
    except TooLargeImage as error:  # which tells of a setting of training
        raise TooLargeImage(f"{str(error).rpartition('; ')[0]}; make it smaller") from None


def _of_pillow(picture: Image.Image, name: str, max_pixels: int) -> Tensor:
    _check_size(picture.size, name, max_pixels)
    try:
        pixels = rgb_of(ImageOps.exif_transpose(picture))  # a file that was opened is read here
    except (OSError, SyntaxError, ValueError) as error:
        file = getattr(picture, "filename", "") or name
        raise BrokenImage(f"{printable(file)}: {printable(error)}") from None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _channels_last(picture: Tensor, name: str) -> np.ndarray:
    if picture.dim() != 3 or picture.size(0) not in CHANNELS:
        raise ValueError(
            f"received {name} as a tensor {tuple(picture.shape)}, expected (3, H, W) or "
            "(1, H, W); index a batch"
        )
    return picture.detach().cpu().permute(1, 2, 0).numpy()


def _of_array(picture: np.ndarray, name: str, max_pixels: int) -> Tensor:
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.ndim not in (2, 3) or channels not in CHANNELS or 0 in picture.shape:
        raise ValueError(
            f"received {name} as an array {picture.shape}, expected (H, W, 3) or (H, W)"
        )
    if picture.dtype != np.uint8:
        raise ValueError(
            f"received {name} of dtype {picture.dtype}, expected uint8 from 0 to 255; multiply "
            "fractions by 255, round, and convert"
        )
    _check_size((picture.shape[1], picture.shape[0]), name, max_pixels)
    flat = picture[:, :, 0] if picture.ndim == 3 and channels == 1 else picture
    return torch.from_numpy(rgb_of(Image.fromarray(np.ascontiguousarray(flat)))).permute(2, 0, 1)


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if not width * height:
        raise BrokenImage(f"{name} of {width}x{height} pixels: shows nothing; give another one")
    if width * height > max_pixels:
        raise BrokenImage(
            f"{name} of {width}x{height} pixels: is larger than the {max_pixels:,} that are "
            "shown to a model; make it smaller"
        )
