"""A folder of any pictures, as they lie there, to be searched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.header import read_size
from vlp_fast.data.printable import printable
from vlp_fast.data.record import Record
from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
)
"""In any case; a file without a suffix is looked at, too."""


def read_gallery(folder: Path) -> tuple[Dataset, list[str]]:
    """The pictures of a folder and those below it, by name; and what is wrong with broken ones.

    Raises:
        InputError: if there is none that can be read.
    """
    records: list[Record] = []
    broken: list[str] = []
    for path in _picture_files(folder):
        try:
            records.append(picture_record(path, len(records)))
        except BrokenImage as error:
            if path.suffix:  # without one it need not have been meant for a picture
                broken.append(str(error))
    if not records:
        why = f"; {len(broken)} files cannot be read, the first: {broken[0]}" if broken else ""
        raise InputError(
            f"{printable(folder)}: has no picture{why}; give a folder of JPEG, PNG, WebP, GIF, BMP "
            "or TIFF files with --images"
        )
    return gallery_of(records, str(folder)), broken


def picture_record(path: Path, number: int) -> Record:
    """A picture without a word about it.

    Raises:
        BrokenImage: if its header cannot be read.
    """
    height, width = read_size(path)
    return Record(
        image_id=number,
        path=path,
        width=width,
        height=height,
        captions=(),
        boxes=np.zeros((0, 4), dtype=np.float32),
        labels=np.zeros(0, dtype=np.int64),
        attributes=np.zeros(0, dtype=np.int64),
    )


def gallery_of(records: list[Record], name: str) -> Dataset:
    """Pictures as a data set."""
    return Dataset(
        name=name, records=tuple(records), class_names=(), attribute_names=(), needs_boxes=False
    )


def _picture_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES | {""}:
                yield path
