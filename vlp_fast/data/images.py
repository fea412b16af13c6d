"""From image files to pixels: every mode becomes upright 8-bit RGB, every failure one error.

JPEG is decoded by torchvision, which gives Pillow's pixels in half of its time; every other format
that data sets come in by Pillow, and what torchvision refuses: its verdict counts. The header is
looked at first, so that a file that declares too many pixels costs nothing. Colour profiles are
ignored, transparency is laid over white, animations show their first frame.
"""

from __future__ import annotations

import contextlib
import errno
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Pillow's names of what is read; MPO, which phones write, is JPEG to it, and its first picture.

No other format is tried, whatever a file is called: a file of EPS would start Ghostscript, and one
of ICO has another size than its header says.
"""
JPEG = ("JPEG", "MPO")
"""Formats whose first picture is JPEG."""
MAX_PIXELS = 64_000_000
_ORIENTATION_TAG = 0x0112
_WIDTH_TAG, _LENGTH_TAG = 0x0100, 0x0101
# EXIF orientation -> (transpose, then mirror columns, then mirror rows) that makes it upright.
_UPRIGHT = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


class BrokenImage(InputError):
    """An image file that cannot be shown; the message names the file and the reason."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A decoded file.

    Attributes:
        pixels: (3, H, W) uint8 RGB, upright (channels last in memory).
        stored_size: (height, width) of the raster in the file, before it was turned upright.
        orientation: EXIF orientation of the file, 1 .. 8; 1 is upright.
    """

    pixels: Tensor
    stored_size: tuple[int, int]
    orientation: int


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a file to upright RGB.

    Args:
        path: a file in one of `FORMATS`, under any name.
        max_pixels: files that declare more are refused before anything is decoded.

    Raises:
        BrokenImage: if the file is missing, empty, truncated, too large or no image.
        InputError: if there is no memory to decode it; another time there may be.
    """
    _raise_limit(max_pixels)
    with memory_for(path):
        with _opened(path) as (image, file):
            _check_pixels(image, max_pixels)
            orientation, stored = _orientation(image), _stored_size(image)
            pixels = _decoded(image, file)
            # Pillow turns TIFF itself while it loads, and takes the orientation out.
            is_turned = _orientation(image) != orientation
        upright = pixels if is_turned else _upright(pixels, orientation)
    return Picture(pixels=upright, stored_size=stored, orientation=orientation)


def read_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) of the stored raster from the header alone.

    Raises:
        BrokenImage: if the file has no readable header.
    """
    with _opened(path) as (image, _):
        return _stored_size(image)


def upright_boxes(
    boxes: np.ndarray, annotated: tuple[int, int], picture: Picture, path: Path
) -> np.ndarray:
    """Turn annotated boxes along with the picture, into fractions of the upright picture.

    Annotations refer to the raster as stored in the file (COCO's convention) unless their size
    fits only the upright one. A raster that was resized after it was annotated is recognised by
    its aspect, and its boxes scale with it.

    Args:
        boxes: (n, 4) float, (x1, y1, x2, y2) in pixels of the annotated frame.
        annotated: (height, width) of that frame.
        picture: the decoded file.
        path: for the error.

    Returns:
        (n, 4) float32, (x1, y1, x2, y2) in [0, 1] of the upright picture.

    Raises:
        BrokenImage: if the annotated size has another aspect than the file.
    """
    height, width = annotated
    fractions = boxes / np.array([width, height, width, height], dtype=np.float64)
    transpose, mirror_columns, mirror_rows = _UPRIGHT[picture.orientation]
    if _same_aspect(annotated, picture.stored_size):
        if transpose:
            fractions = fractions[:, [1, 0, 3, 2]]
        if mirror_columns:
            fractions[:, [0, 2]] = 1 - fractions[:, [2, 0]]
        if mirror_rows:
            fractions[:, [1, 3]] = 1 - fractions[:, [3, 1]]
    elif not _same_aspect(annotated, (picture.pixels.size(1), picture.pixels.size(2))):
        stored_height, stored_width = picture.stored_size
        raise BrokenImage(
            f"{printable(path)}: is {stored_width}x{stored_height}, but the annotations say "
            f"{width}x{height}; boxes cannot be placed"
        )
    return np.asarray(fractions.clip(0, 1), dtype=np.float32)


@contextmanager
def memory_for(path: Path) -> Iterator[None]:
    """Say of which image it was that memory ran out while it was decoded, turned or resized.

    Raises:
        InputError: in place of the errors with which Python, Pillow and torch say so. No
            `BrokenImage`, or what a run shows would depend on the memory that happens to be free.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        raise InputError(
            f"{printable(path)}: there is not enough memory for this image; lower "
            "--data.num-workers, --data.longer or --data.max-pixels"
        ) from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """The image of a file with its header read, and the file; what fails is `BrokenImage`."""
    try:
        _check_regular(path)
        with path.open("rb") as file, warnings.catch_warnings():
            # Pillow's own, lower alarm about large images; `max_pixels` replaces it.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                yield image, file
    except Exception as error:  # Pillow's decoders raise whatever the damage makes them stumble on
        if _is_out_of_memory(error):
            raise
        raise BrokenImage(printable(f"{path}: {_reason(error)}")) from None


def _check_regular(path: Path) -> None:
    """Before a file is opened: a pipe would be waited for, a device may have no end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder says so itself
        raise ValueError("is a pipe or a device, not a file; put the image itself there")


def _raise_limit(max_pixels: int) -> None:
    """Lift Pillow's own limit, which is the process's, to what is asked for; it never falls."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def _is_out_of_memory(error: Exception) -> bool:
    """Python raises MemoryError; Pillow's decoders and torch say it in words."""
    said = isinstance(error, OSError | RuntimeError) and (
        "out of memory" in str(error) or "allocate memory" in str(error)
    )
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or said or refused


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ValueError(
            f"the header declares {image.width}x{image.height} pixels, more than the "
            f"{max_pixels} allowed; shrink it or raise --data.max-pixels N"
        )


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """The (height, width) of the raster; of TIFF Pillow tells the upright size instead."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[_LENGTH_TAG]), int(image.tag_v2[_WIDTH_TAG])
    return image.height, image.width


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation; damaged EXIF does not make the picture unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF raises as many kinds of errors as damaged pixels
        return 1
    return value if value in _UPRIGHT else 1


def _decoded(image: Image.Image, file: BinaryIO) -> Tensor:
    """Decode to (3, H, W) uint8, channels last in memory."""
    if image.format in JPEG:
        with contextlib.suppress(RuntimeError):
            return _decoded_jpeg(file)
    return torch.from_numpy(_rgb(image)).permute(2, 0, 1)


def _decoded_jpeg(file: BinaryIO) -> Tensor:
    file.seek(0)
    encoded = torch.from_numpy(np.fromfile(file, dtype=np.uint8))
    pixels: Tensor = decode_jpeg(encoded, ImageReadMode.RGB)
    return pixels


def _rgb(image: Image.Image) -> np.ndarray:
    """Decode to a writable (H, W, 3) uint8 array."""
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode == "F":
        image = _eight_bits_of_floats(image)
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


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


def _upright(pixels: Tensor, orientation: int) -> Tensor:
    transpose, mirror_columns, mirror_rows = _UPRIGHT[orientation]
    if transpose:
        pixels = pixels.transpose(1, 2)
    flips = [axis for axis, flip in ((2, mirror_columns), (1, mirror_rows)) if flip]
    return pixels.flip(flips) if flips else pixels


def _same_aspect(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Equal up to the rounding of each side to whole pixels."""
    difference = abs(first[0] * second[1] - first[1] * second[0])
    return difference <= sum(first) + sum(second)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is not an image that can be read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
