"""What the header of an image file says, before anything is decoded."""

from __future__ import annotations

import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from vlp_fast.data.broken_image import BrokenImage, TooLargeImage, is_out_of_memory
from vlp_fast.data.picture_file import LARGEST, PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.upright import UPRIGHT, Raster

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Pillow's names of what is read; MPO, which phones write, is JPEG to it, and its first picture.

No other format is tried, whatever a file is called: a file of EPS would start Ghostscript, and one
of ICO has another size than its header says.
"""
MAX_PIXELS = 64_000_000
_PIXELS = re.compile(r"^\D*(\d+).*$", re.DOTALL)
"""Pillow has a limit of its own, 179 million pixels, which it tells before ours is looked at."""
_ORIENTATION_TAG = 0x0112
_WIDTH_TAG, _LENGTH_TAG = 0x0100, 0x0101


class TooMuch(ValueError):
    """A file that has more bytes than are read, or declares more pixels than are decoded."""


def read_header(image: Image.Image, max_pixels: int) -> Raster:
    """What an opened image says of its raster.

    Raises:
        TooMuch: if it declares more than `max_pixels`.
    """
    _check_pixels(image, max_pixels)
    return _raster(image)


def read_size(path: PictureFile) -> tuple[int, int]:
    """Return the (height, width) of the stored raster from the header alone.

    Raises:
        BrokenImage: if the file has no readable header.
    """
    return read_raster(path).stored_size


def read_raster(path: PictureFile) -> Raster:
    """What the header of a file says, whatever the size that it declares.

    Raises:
        BrokenImage: if the file has no readable header.
    """
    with opened(path) as (image, _):
        return _raster(image)


class _Filters:
    """Who may change what is done about warnings: one thread of a process at a time.

    Python keeps that for the whole process; of two threads that set it back, the later one leaves
    what the earlier had set.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()


_FILTERS = _Filters()
if hasattr(os, "register_at_fork"):  # a worker must not wait for a thread that it has not
    os.register_at_fork(after_in_child=_FILTERS.__init__)  # type: ignore[misc]


@contextmanager
def opened(
    path: PictureFile, max_pixels: int = MAX_PIXELS
) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """The image of a file with its header read, and the file; what fails is `BrokenImage`."""
    try:
        _check_file(path)
        _raise_limit(max_pixels)
        with path.open("rb") as file, _FILTERS.lock, warnings.catch_warnings():
            # Pillow's own, lower alarm about large images; `max_pixels` replaces it.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                yield image, file
    except Exception as error:  # Pillow's decoders raise whatever the damage makes them stumble on
        if is_out_of_memory(error):
            raise
        if isinstance(error, Image.DecompressionBombError):
            error = _many_pixels(_PIXELS.sub(r"\1", str(error)), max_pixels)
        kind = TooLargeImage if isinstance(error, TooMuch) else BrokenImage
        raise kind(printable(f"{path}: {_reason(error)}")) from None


def _check_file(path: PictureFile) -> None:
    """Before a file is opened: a pipe would be waited for, a device may have no end."""
    state = path.stat()
    mode = state.st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder says so itself
        raise ValueError("is a pipe or a device, not a file; put the image itself there")
    if state.st_size > LARGEST:
        raise TooMuch(
            f"has {state.st_size:,} bytes, more than the {LARGEST:,} that are read of a picture; "
            "put the image itself there"
        )


def _raise_limit(max_pixels: int) -> None:
    """Lift Pillow's own limit, which is the process's, to what is asked for; it never falls."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise _many_pixels(f"{image.width}x{image.height}", max_pixels)


def _many_pixels(declared: str, max_pixels: int) -> TooMuch:
    return TooMuch(
        f"the header declares {declared} pixels, more than the {max_pixels} allowed; shrink it or "
        "raise --data.max-pixels N"
    )


def _raster(image: Image.Image) -> Raster:
    return Raster(stored_size=_stored_size(image), orientation=orientation_of(image))


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """The (height, width) of the raster; of TIFF Pillow tells the upright size instead."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[_LENGTH_TAG]), int(image.tag_v2[_WIDTH_TAG])
    return image.height, image.width


def orientation_of(image: Image.Image) -> int:
    """Read the EXIF orientation; damaged EXIF does not make the picture unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF raises as many kinds of errors as damaged pixels
        return 1
    return value if value in UPRIGHT else 1


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is not an image that can be read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
