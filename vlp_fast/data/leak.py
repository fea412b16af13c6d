"""Held-out pictures that are training pictures: found and left out, or the figures are of no use.

One picture gets into both splits where they come from two files: one year's validation set beside
another year's training set, a folder that serves both, pictures copied to fill up the other part.
An id alone proves nothing, for it begins anew in each of other people's files. Visual Genome's are
other files of COCO's pictures, and say which: those are left out by that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.data.record_table import RecordTable
from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError

BLOCK = 2**16
"""Bytes that are compared first: other pictures differ in them."""


def without_training_pictures(held_out: Dataset, train: Dataset) -> Dataset:
    """Leave out the held-out samples with a picture that is one of the training pictures.

    A picture is the same if it is the same file, or if it has the same image id or the same name
    (also without COCO's prefix of 2014) and the same bytes. Where the same split is asked for
    twice, as to measure how well it is learnt, it stays as it is.

    Args:
        held_out: the data set to measure on.
        train: the data set to learn from.

    Returns:
        The held-out samples that are left, with a note of how many were not.

    Raises:
        InputError: if none is left.
    """
    if held_out.name == train.name:
        return held_out
    pictures = _Pictures(train.table)
    leaks = [place for place, one in enumerate(_named(held_out.table)) if pictures.have(*one)]
    if not leaks:
        return held_out
    first = printable(held_out.records[leaks[0]].path)
    kept = held_out.selected(sorted(set(range(len(held_out.records))) - set(leaks)))
    if not kept.records or (held_out.samples and not kept.samples):
        every = "a picture of every other sample" if kept.records else "every other picture"
        raise InputError(
            f"{first}: this and {every} of {held_out.name} is in {train.name} too; "
            "measure on another split with --data.held-out-split, which is --split of `vlp-fast "
            "evaluate`, or train on others"
        )
    note = f"{len(leaks)} held-out images that are in {train.name} too dropped (the first: {first})"
    return replace(kept, notes=(*kept.notes, note))


def without_coco_ids(dataset: Dataset, ids: Collection[int], which: str) -> Dataset:
    """Leave out the pictures that have one of these ids in COCO.

    Args:
        dataset: any; pictures whose id in COCO is not known stay.
        ids: of COCO.
        which: the pictures of these ids, as in "that COCO holds out".

    Returns:
        What is left, if anything, with a note of how many are not.
    """
    records = dataset.records
    kept: list[int] = []
    dropped: list[int] = []
    for place, coco_id in enumerate(dataset.table.coco_ids):
        (dropped if coco_id in ids else kept).append(place)
    if not dropped:
        return dataset
    first = records[dropped[0]]
    note = (
        f"{len(dropped)} of {len(records)} images are ones {which}, by their ids in "
        f"COCO, and dropped (the first: {printable(first.path.name)})"
    )
    return replace(dataset.selected(kept), notes=(*dataset.notes, note))


def file_key(name: str) -> str:
    """What names of one file have in common: COCO_val2014_000000000042.jpg is 000000000042.jpg."""
    return name.rpartition("_")[2] if name.startswith("COCO_") else name


class _Pictures:
    """The pictures of records, by what a copy of one has in common with it."""

    def __init__(self, records: RecordTable) -> None:
        self._alike: dict[int | str, list[PictureFile]] = {}
        self._sizes: dict[PictureFile, int] = {}
        for image_id, file in _named(records):
            for key in _keys(image_id, file):
                self._alike.setdefault(key, []).append(file)

    def have(self, image_id: int, file: PictureFile) -> bool:
        """Whether a record's picture is among them."""
        alike = [other for key in _keys(image_id, file) for other in self._alike.get(key, ())]
        return any(other == file or self._is_copy(file, other) for other in alike)

    def _is_copy(self, first: PictureFile, second: PictureFile) -> bool:
        """Unreadable files are no copies; they are told when they are to be shown."""
        try:
            size = self._size(first)
            return size > 0 and size == self._size(second) and _same_bytes(first, second)
        except OSError:
            return False

    def _size(self, path: PictureFile) -> int:
        if path not in self._sizes:
            self._sizes[path] = path.stat().st_size
        return self._sizes[path]


def _named(records: RecordTable) -> Iterable[tuple[int, PictureFile]]:
    return zip(records.image_ids, records.picture_files(), strict=True)


def _keys(image_id: int, file: PictureFile) -> tuple[int | str, str]:
    return image_id, file_key(file.name)


def _same_bytes(first: PictureFile, second: PictureFile) -> bool:
    with first.open("rb") as one, second.open("rb") as other:
        while block := one.read(BLOCK):
            if block != other.read(BLOCK):
                return False
    return True
