"""From image files to pixels: every mode becomes upright 8-bit RGB, every failure one error.

JPEG is decoded by torchvision, which gives Pillow's pixels in half of its time; every other format
that data sets come in by Pillow, and what torchvision refuses: its verdict counts. The header is
looked at first, so that a file that declares too many pixels costs nothing. Colour profiles are
ignored, transparency is laid over white, animations show their first frame.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from vlp_fast.data.broken_image import memory_for
from vlp_fast.data.header import MAX_PIXELS, opened, orientation_of, read_header
from vlp_fast.data.picture_file import PictureFile, content
from vlp_fast.data.transforms import resize
from vlp_fast.data.upright import Raster, upright

JPEG = ("JPEG", "MPO")
"""Formats whose first picture is JPEG."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture(Raster):
    """A decoded file.

    Attributes:
        pixels: (3, H, W) uint8 RGB, upright (channels last in memory).
    """

    pixels: Tensor

    def shown(self, size: tuple[int, int]) -> Tensor:
        """The pixels at (height, width)."""
        return resize(self.pixels, size)


def read_image(path: PictureFile, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a file to upright RGB.

    Args:
        path: a file in one of `FORMATS`, under any name.
        max_pixels: files that declare more are refused before anything is decoded.

    Raises:
        BrokenImage: if the file is missing, empty, truncated, too large or no image.
        InputError: if there is no memory to decode it; another time there may be.
    """
    with memory_for(path):
        with opened(path, max_pixels) as (image, file):
            raster = read_header(image, max_pixels)
            pixels = _decoded(image, file)
            # Pillow turns TIFF itself while it loads, and takes the orientation out.
            is_turned = orientation_of(image) != raster.orientation
        if not is_turned:
            pixels = upright(pixels, raster.orientation)
    return Picture(pixels=pixels, stored_size=raster.stored_size, orientation=raster.orientation)


def rgb_of(image: Image.Image) -> np.ndarray:
    """A writable (H, W, 3) uint8 array of a picture in any mode, transparency over white."""
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode == "F":
        image = _eight_bits_of_floats(image)
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _decoded(image: Image.Image, file: BinaryIO) -> Tensor:
    """Decode to (3, H, W) uint8, channels last in memory."""
    if image.format in JPEG:
        with contextlib.suppress(RuntimeError):
            return _decoded_jpeg(file)
    return torch.from_numpy(rgb_of(image)).permute(2, 0, 1)


def _decoded_jpeg(file: BinaryIO) -> Tensor:
    pixels: Tensor = decode_jpeg(torch.from_numpy(content(file)), ImageReadMode.RGB)
    return pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keep the upper 8 of 16 bits a pixel; Pillow's own conversion clips at 255 instead.

    Mode "I" has 32 bits: they hold 8-bit values where none exceeds 255, else 16-bit ones, to which
    the others are clipped. Copies are no wider than the file's.
    """
    values = np.asarray(image)
    if values.dtype.itemsize > 2:
        if values.min() >= 0 and values.max() <= 255:
            return Image.fromarray(values.astype(np.uint8))
        values = values.clip(0, 65535).astype(np.uint16)
    return Image.fromarray((values >> 8).astype(np.uint8))


def _eight_bits_of_floats(image: Image.Image) -> Image.Image:
    """Floats have no range of their own: those in [0, 1] are fractions, in [0, 255] 8-bit values.

    Pillow's conversion takes all for the latter, and fractions come out black.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 255:  # nor is NaN
        raise ValueError(
            f"has float pixels from {low:g} to {high:g}, expected 0 to 1 or 0 to 255; save it with "
            "8 or 16 bits"
        )
    scaled = values * np.float32(255) if high <= 1 else values
    return Image.fromarray(scaled.round().astype(np.uint8))
