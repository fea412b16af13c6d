"""From a record to an example: decode, resize, place the boxes.

An image that cannot be read is replaced by another one, drawn from (seed, epoch, index), and the
example says so. It is never left out: batches keep their size and steps their meaning. A data set
of which most cannot be read is refused beforehand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vlp_fast.data.broken_image import BrokenImage, memory_for
from vlp_fast.data.cache import ImageCache
from vlp_fast.data.encoded import EncodedImage, EncodedPicture
from vlp_fast.data.first_look import refuse_broken
from vlp_fast.data.header import MAX_PIXELS
from vlp_fast.data.images import Picture, read_image
from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.randomness import generator
from vlp_fast.data.record import Record
from vlp_fast.data.records import Dataset
from vlp_fast.data.transforms import resized
from vlp_fast.data.upright import Raster, turn_of, upright_boxes
from vlp_fast.errors import InputError

REPLACEMENTS = 64
"""Images tried in place of a broken one before the data set as a whole counts as broken."""
LONGEST_SIDE = 10_000
"""Pixels, where no other cap is set: a batch is padded to its longest sides in both directions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One image as the tasks see it.

    Attributes:
        index: of the record that is shown, in its data set.
        image_id: of that record.
        image: (3, H, W) uint8 RGB; or a file, where batches are decoded as a whole.
        captions: of that record.
        boxes: (n, 4) float32, (cx, cy, w, h) in [0, 1] of the image.
        labels: (n,) int64.
        attributes: (n,) int64, -1 where none is annotated.
        turn: how the annotated frame is turned to be this image, as EXIF numbers it.
        problem: why another image is shown than the order asked for, or None.
    """

    index: int
    image_id: int
    image: Tensor | EncodedImage
    captions: tuple[str, ...]
    boxes: Tensor
    labels: Tensor
    attributes: Tensor
    turn: int = 1
    problem: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        if isinstance(self.image, EncodedImage):
            return self.image.size
        return self.image.size(1), self.image.size(2)

    @property
    def pixels(self) -> Tensor:
        """(3, H, W) uint8 RGB.

        Raises:
            TypeError: if the image is decoded later, with its batch.
        """
        if isinstance(self.image, EncodedImage):
            raise TypeError(f"{self.image.path.name}: is not decoded yet; read inputs.images")
        return self.image


class Reader(Protocol):
    """What opens the files of images."""

    def __call__(self, path: PictureFile, *, max_pixels: int = ...) -> Picture | EncodedPicture:
        """Read a file; raises `BrokenImage`."""


class ImageLoader:
    """Makes the examples of a data set's records.

    Args:
        dataset: the records. Where it needs no boxes, images whose boxes cannot be placed are shown
            without them.
        shorter: lengths of the shorter side in pixels, of which one is drawn for each image and
            epoch, or for each batch; None keeps the file's size (up to `longer`).
        longer: cap of the longer side in pixels; with None, images whose size would exceed
            `max_pixels`, or 10,000 pixels on a side, are broken.
        seed: of the run.
        max_pixels: images that declare more are broken.
        one_size: draw one length for all of a batch: a quarter of DETR's pixels are padding where
            each image has its own, 2 % where not.
        cache: keep decoded images in memory, shared by all workers forked later.
        reader: opens the files: `read_image`, or an `EncodedReader` where batches are decoded as a
            whole.
    """

    def __init__(
        self,
        *,
        dataset: Dataset,
        shorter: tuple[int, ...] | None,
        longer: int | None,
        seed: int,
        max_pixels: int = MAX_PIXELS,
        one_size: bool = False,
        cache: bool = False,
        reader: Reader = read_image,
    ) -> None:
        self._dataset = dataset
        self._shorter = shorter
        self._longer = longer
        self._seed = seed
        self._one_size = one_size
        self._max_pixels = max_pixels
        self._reader = reader
        self._cache = ImageCache(dataset.records, max_pixels=max_pixels) if cache else None

    def look(self, shown: Sequence[int] | None = None) -> None:
        """Decode some images before the first is used.

        Args:
            shown: numbers of the records that will be asked for; None for all.

        Raises:
            InputError: if most of them are broken.
        """
        refuse_broken(self._dataset, lambda index: self._opened(index, 0, 0, read_image), shown)

    def load(self, index: int, epoch: int, step: int = 0) -> Example:
        """Return the example of a record, or of another if its image is broken.

        Args:
            index: of the record.
            epoch: that keys what is drawn for it.
            step: the batch's, which keys what is drawn for all of a batch.

        Raises:
            InputError: if the image and all its replacements are broken.
        """
        try:
            return self.show(index, epoch, step)
        except BrokenImage as error:
            problem = str(error)
        draw = generator(self._seed, epoch, index, "replacement")
        records = len(self._dataset.records)
        others = draw.choice(records, min(REPLACEMENTS, records), False)
        for other in others.tolist():
            with contextlib.suppress(BrokenImage):
                return self.show(other, epoch, step, problem)
        raise InputError(
            f"{problem}; so are {len(others)} images of {self._dataset.name} drawn in its place; "
            "repair the image folder"
        )

    def show(self, index: int, epoch: int, step: int, problem: str | None = None) -> Example:
        """Return the example of a record itself, whatever `problem` it stands in for.

        Raises:
            BrokenImage: if its image cannot be used.
        """
        record = self._dataset.records[index]
        with memory_for(record.path):
            picture, boxes, size = self._opened(index, epoch, step, self._reader)
            image = picture.shown(size)
            turn = turn_of(_annotated_size(record), picture)
        placed = slice(len(boxes))  # all, or none
        return Example(
            index=index,
            image_id=record.image_id,
            image=image,
            captions=record.captions,
            boxes=_centred(boxes),
            labels=torch.from_numpy(record.labels[placed]),
            attributes=torch.from_numpy(record.attributes[placed]),
            turn=turn or 1,
            problem=problem and f"{problem}; {printable(record.path.name)} is shown instead",
        )

    def _opened(
        self, index: int, epoch: int, step: int, reader: Reader
    ) -> tuple[Picture | EncodedPicture, np.ndarray, tuple[int, int]]:
        """The upright picture, the boxes as fractions of it, the (height, width) to show."""
        record = self._dataset.records[index]
        cached = self._cache.get(index) if self._cache else None
        if cached is not None:
            size = (cached.size(1), cached.size(2))
            picture: Picture | EncodedPicture = Picture(
                pixels=cached, stored_size=size, orientation=1
            )
            return picture, _fractions(record), self._size(size, index, epoch, step)
        picture = reader(record.path, max_pixels=self._max_pixels)
        boxes = self._boxes(record, picture)
        if self._cache and isinstance(picture, Picture) and _is_as_annotated(picture, record):
            self._cache.put(index, picture.pixels)
        return picture, boxes, self._size(picture.size, index, epoch, step)

    def _size(self, of: tuple[int, int], index: int, epoch: int, step: int) -> tuple[int, int]:
        """Draw the (height, width) to present an image of another size at."""
        shorter = None
        if self._shorter:
            if self._one_size:
                draw = generator(self._seed, epoch, step, "size of a batch")
            else:
                draw = generator(self._seed, epoch, index, "size")
            shorter = self._shorter[draw.integers(len(self._shorter))]
        size = resized(of, shorter, self._longer)
        if self._longer is None:
            _check_size(size, self._max_pixels, self._dataset.records[index].path)
        return size

    def _boxes(self, record: Record, raster: Raster) -> np.ndarray:
        """Fractions of the upright picture; none where they cannot be placed and are not needed."""
        if _is_as_annotated(raster, record):
            return _fractions(record)
        if not len(record.boxes):
            return record.boxes
        try:
            return upright_boxes(record.boxes, _annotated_size(record), raster, record.path)
        except BrokenImage:
            if self._dataset.needs_boxes:
                raise
            return record.boxes[:0]


def _check_size(size: tuple[int, int], max_pixels: int, path: PictureFile) -> None:
    """Without a cap of the longer side, a strip of pixels could be enlarged to any size."""
    height, width = size
    if height * width > max_pixels or max(size) > LONGEST_SIDE:
        raise BrokenImage(
            f"{printable(path)}: would be shown at {width}x{height}, more than the {max_pixels} "
            f"pixels or {LONGEST_SIDE} a side allowed; set a cap with --data.longer N"
        )


def _is_as_annotated(raster: Raster, record: Record) -> bool:
    return raster.orientation == 1 and raster.stored_size == _annotated_size(record)


def _annotated_size(record: Record) -> tuple[int, int]:
    return record.height, record.width


def _fractions(record: Record) -> np.ndarray:
    scale = np.array([record.width, record.height, record.width, record.height])
    return np.asarray(record.boxes / scale, dtype=np.float32)


def _centred(boxes: np.ndarray) -> Tensor:
    """(x1, y1, x2, y2) to (cx, cy, w, h)."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return torch.from_numpy(np.concatenate([(low + high) / 2, high - low], axis=1))
