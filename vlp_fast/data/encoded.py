"""Pictures that are decoded later, all of a batch at once: their files, and how to show them.

Photographs are JPEG. Every other format is decoded by `images.py`, here as everywhere, and travels
as raw pixels behind a header of PPM, which every decoder reads to the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from torch import Tensor

from vlp_fast.data.broken_image import memory_for
from vlp_fast.data.header import MAX_PIXELS, opened, read_header
from vlp_fast.data.images import JPEG, read_image
from vlp_fast.data.picture_file import PictureFile, content
from vlp_fast.data.upright import Raster


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedImage:
    """One image of a batch that is still to be decoded.

    Attributes:
        path: where its bytes are from.
        content: (N,) uint8, a file.
        size: (height, width) to show it at.
    """

    path: PictureFile
    content: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedBatch:
    """In the place of a batch's padded images, until they are decoded.

    Attributes:
        images: B of them.
        canvas: (height, width) that all are padded to.
    """

    images: tuple[EncodedImage, ...]
    canvas: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPicture(Raster):
    """A file whose header was read, in place of a decoded `Picture`.

    Attributes:
        path: of the file.
        content: its bytes, (N,) uint8.
    """

    path: PictureFile
    content: np.ndarray

    def shown(self, size: tuple[int, int]) -> EncodedImage:
        """The file, to be shown at (height, width)."""
        return EncodedImage(path=self.path, content=self.content, size=size)


@dataclass(frozen=True)
class EncodedReader:
    """Reads files without decoding them, in place of `read_image`.

    Attributes:
        doubted: files that the decoder of a batch refused; `read_image` has the last word on them.
    """

    doubted: set[PictureFile] = field(default_factory=set)

    def __call__(self, path: PictureFile, *, max_pixels: int = MAX_PIXELS) -> EncodedPicture:
        """Read a file.

        Raises:
            BrokenImage: if it is missing, empty, too large or no image; and what `read_image`
                raises of a file that has to be decoded here.
        """
        if path in self.doubted:
            return _raw(path, max_pixels)
        with memory_for(path), opened(path, max_pixels) as (image, file):
            raster = read_header(image, max_pixels)
            if _is_decoded_alike(image, raster):
                return EncodedPicture(
                    path=path,
                    content=content(file),
                    stored_size=raster.stored_size,
                    orientation=raster.orientation,
                )
        return _raw(path, max_pixels)


def _is_decoded_alike(image: Image.Image, raster: Raster) -> bool:
    """Upright JPEG, but for four inks, which DALI rounds otherwise, as it reads damaged EXIF.

    Of other formats DALI ignores transparency, or the largest value of PPM, rounds 16 bits, and
    shows what is damaged; and Pillow decodes a PNG to find its orientation.
    """
    return image.format in JPEG and image.mode != "CMYK" and raster.orientation == 1


def _raw(path: PictureFile, max_pixels: int) -> EncodedPicture:
    picture = read_image(path, max_pixels=max_pixels)
    return EncodedPicture(
        path=path,
        content=as_ppm(picture.pixels),
        stored_size=picture.stored_size,
        orientation=picture.orientation,
    )


def as_ppm(pixels: Tensor) -> np.ndarray:
    """The bytes of a PPM file of (3, H, W) uint8 pixels."""
    height, width = pixels.shape[1:]
    rows = pixels.permute(1, 2, 0).contiguous().numpy().reshape(-1)
    header = np.frombuffer(b"P6 %d %d 255\n" % (width, height), dtype=np.uint8)
    return np.concatenate([header, rows])
