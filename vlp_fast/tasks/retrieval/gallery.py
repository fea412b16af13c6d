"""A folder of any pictures, as they lie there, to be searched."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vlp_fast.data.broken_image import BrokenImage
from vlp_fast.data.header import read_size
from vlp_fast.data.printable import printable
from vlp_fast.data.record import Record, bare_record
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
    for path in _picture_files(folder, broken):
        try:
            records.append(picture_record(path, len(records)))
        except BrokenImage as error:
            if path.suffix:  # without one it need not have been meant for a picture
                broken.append(str(error))
    if not records:
        raise no_picture(folder, broken)
    return gallery_of(records, str(folder)), broken


def no_picture(folder: Path, broken: Sequence[str]) -> InputError:
    """What to say of a folder where nothing can be searched."""
    why = f"; {len(broken)} cannot be read, the first: {broken[0]}" if broken else ""
    return InputError(
        f"{printable(folder)}: has no picture{why}; give a folder of JPEG, PNG, WebP, GIF, BMP or "
        "TIFF files with --images"
    )


def picture_record(path: Path, number: int) -> Record:
    """A picture without a word about it.

    Raises:
        BrokenImage: if its header cannot be read.
    """
    return bare_record(number, path, read_size(path))


def gallery_of(records: list[Record], name: str) -> Dataset:
    """Pictures as a data set."""
    return Dataset(
        name=name, records=tuple(records), class_names=(), attribute_names=(), needs_boxes=False
    )


def _picture_files(folder: Path, broken: list[str]) -> Iterator[Path]:
    """Files that may be pictures, by name; folders that may not be listed are broken."""

    def refused(error: OSError) -> None:
        broken.append(printable(f"{error.filename}: {error.strerror}"))

    for place, folders, names in os.walk(folder, onerror=refused):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES | {""}:
                yield path
