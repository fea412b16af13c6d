"""Records as columns: a few arrays in place of millions of objects.

180,000 images with 6 million texts and 2 million boxes take about 0.6 GB so, and several times as
much as objects, of which each worker process would copy what it looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import overload

import numpy as np

from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.record import Record
from vlp_fast.data.store.texts import Texts

END = "\n"
"""Behind each caption: no caption holds a line break, for their whitespace is collapsed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """What annotation files say of n images with t captions and b boxes together.

    Attributes:
        image_id: (n,) int64.
        size: (n, 2) int64, (width, height) of the frame that boxes refer to.
        coco_id: (n,) int64, 0 where there is none.
        has_coco_id: (n,) bool.
        captions: t of them.
        first_caption: (n + 1,) int64, image i has captions `first_caption[i]` to the next one's.
        boxes: (b, 4) float32, (x1, y1, x2, y2) in pixels.
        labels: (b,) int64.
        attributes: (b,) int64, -1 where none is annotated.
        first_box: (n + 1,) int64, likewise.
    """

    image_id: np.ndarray
    size: np.ndarray
    coco_id: np.ndarray
    has_coco_id: np.ndarray
    captions: Texts
    first_caption: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    first_box: np.ndarray


class RecordTable(Sequence[Record]):
    """Records that are put together when they are asked for, in some order of the columns' rows.

    Args:
        columns: of n images.
        files: n of them.
        rows: (m,) int64, which images are shown; all if None.
    """

    def __init__(
        self, columns: Columns, files: Sequence[PictureFile], rows: np.ndarray | None = None
    ) -> None:
        self.columns = columns
        self.files = files
        self.rows = np.arange(len(columns.image_id)) if rows is None else rows

    @classmethod
    def of(cls, records: Sequence[Record]) -> RecordTable:
        """The table of records; of a table, itself."""
        if isinstance(records, RecordTable):
            return records
        coco_ids = [record.coco_id for record in records]
        columns = Columns(
            image_id=_integers(record.image_id for record in records),
            size=_integers(chain(*((r.width, r.height) for r in records))).reshape(-1, 2),
            coco_id=_integers(number or 0 for number in coco_ids),
            has_coco_id=np.array([number is not None for number in coco_ids], dtype=bool),
            captions=Texts.of(chain(*(record.captions for record in records)), end=END),
            first_caption=_starts(len(record.captions) for record in records),
            boxes=_joined([r.boxes for r in records], np.zeros((0, 4), dtype=np.float32)),
            labels=_joined([r.labels for r in records], np.zeros(0, dtype=np.int64)),
            attributes=_joined([r.attributes for r in records], np.zeros(0, dtype=np.int64)),
            first_box=_starts(len(record.labels) for record in records),
        )
        return cls(columns, [record.path for record in records])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """A record, or some of them. Its arrays are parts of the columns, not to be written."""
        if isinstance(index, slice):
            return RecordTable(self.columns, self.files, self.rows[index])
        columns, row = self.columns, int(self.rows[index])
        boxes = slice(*columns.first_box[row : row + 2].tolist())
        return Record(
            image_id=int(columns.image_id[row]),
            path=self.files[row],
            width=int(columns.size[row, 0]),
            height=int(columns.size[row, 1]),
            captions=tuple(self._captions(row)),
            boxes=columns.boxes[boxes],
            labels=columns.labels[boxes],
            attributes=columns.attributes[boxes],
            coco_id=int(columns.coco_id[row]) if columns.has_coco_id[row] else None,
        )

    def selected(self, indices: Sequence[int]) -> RecordTable:
        """Some of the records, in the order of the indices."""
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        return RecordTable(self.columns, self.files, rows)

    @property
    def image_ids(self) -> list[int]:
        """Of each record."""
        ids: list[int] = self.columns.image_id[self.rows].tolist()
        return ids

    @property
    def coco_ids(self) -> list[int | None]:
        """Of each record."""
        ids = self.columns.coco_id[self.rows].tolist()
        known = self.columns.has_coco_id[self.rows].tolist()
        return [number if is_known else None for number, is_known in zip(ids, known, strict=True)]

    @property
    def sizes(self) -> np.ndarray:
        """(m, 2) int64, (width, height) of each record."""
        return self.columns.size[self.rows]

    @cached_property
    def box_counts(self) -> np.ndarray:
        """(m,) int64, boxes of each record."""
        counts: np.ndarray = np.diff(self.columns.first_box)[self.rows]
        return counts

    def captions(self) -> Iterator[str]:
        """Every caption of every record, in order."""
        for row in self.rows.tolist():
            yield from self._captions(row)

    def caption_bytes(self) -> Iterator[bytes]:
        """Of each record, its captions in UTF-8, with a line break behind each."""
        starts = self.columns.first_caption
        for row in self.rows.tolist():
            yield self.columns.captions.bytes_of(starts[row], starts[row + 1])

    def box_parts(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each record, its boxes, labels and attributes."""
        columns = self.columns
        starts = columns.first_box.tolist()
        for row in self.rows.tolist():
            own = slice(starts[row], starts[row + 1])
            yield columns.boxes[own], columns.labels[own], columns.attributes[own]

    def picture_files(self) -> Iterator[PictureFile]:
        """Of each record."""
        return (self.files[row] for row in self.rows.tolist())

    def solid(self) -> RecordTable:
        """The same records with columns of their own, in their order and no others."""
        if np.array_equal(self.rows, np.arange(len(self.columns.image_id))):
            return self
        columns, rows = self.columns, self.rows
        first, boxes = columns.first_caption, _ragged(columns.first_box, rows)
        mine = replace(
            columns,
            image_id=columns.image_id[rows],
            size=columns.size[rows],
            coco_id=columns.coco_id[rows],
            has_coco_id=columns.has_coco_id[rows],
            captions=columns.captions.ranges(first[rows], first[rows + 1]),
            first_caption=_starts(np.diff(first)[rows]),
            boxes=columns.boxes[boxes],
            labels=columns.labels[boxes],
            attributes=columns.attributes[boxes],
            first_box=_starts(np.diff(columns.first_box)[rows]),
        )
        return RecordTable(mine, list(self.picture_files()))

    def _captions(self, row: int) -> list[str]:
        first, last = self.columns.first_caption[row : row + 2].tolist()
        return self.columns.captions[first:last]


def joined(tables: Sequence[RecordTable]) -> RecordTable:
    """The records of one or more tables, one behind another."""
    parts = [table.solid() for table in tables]
    columns = [part.columns for part in parts]
    names = ("image_id", "size", "coco_id", "has_coco_id", "boxes", "labels", "attributes")
    return RecordTable(
        Columns(
            captions=Texts.joined([one.captions for one in columns]),
            first_caption=_starts(chain(*(np.diff(one.first_caption) for one in columns))),
            first_box=_starts(chain(*(np.diff(one.first_box) for one in columns))),
            **{name: np.concatenate([getattr(one, name) for one in columns]) for name in names},
        ),
        list(chain(*(part.files for part in parts))),
    )


def _ragged(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Numbers of all elements of some rows."""
    counts = np.diff(starts)[rows]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts[rows] - (ends - counts), counts) + np.arange(total)


def _integers(numbers: Iterable[int]) -> np.ndarray:
    return np.fromiter(numbers, dtype=np.int64)


def _starts(counts: Iterable[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(_integers(counts))]).astype(np.int64)


def _joined(parts: Sequence[np.ndarray], nothing: np.ndarray) -> np.ndarray:
    return np.concatenate([nothing, *parts])
