"""What a data set is once its annotation files are read: records without pixels.

Everything here is host data in NumPy and plain Python, so that worker processes share it cheaply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from vlp_fast.data.near_texts import NearTexts
from vlp_fast.data.record import Record
from vlp_fast.data.record_table import RecordTable
from vlp_fast.data.samples import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """What a reader left out, or repaired, for one reason.

    Attributes:
        reason: reads after a number, as in "3 empty captions dropped".
        count: how many.
        examples: the first of them.
    """

    reason: str
    count: int
    examples: tuple[str, ...]


class Truth(Protocol):
    """What is known of the pictures beyond their annotations."""

    def __call__(self, index: int, text: str, /) -> bool:
        """Whether a text is true of record `index`."""

    def selected(self, indices: Sequence[int], /) -> Truth:
        """The same of some of the records, in the order of the indices."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """All records of one split.

    Attributes:
        name: layout and split, for logs.
        records: in the order of the annotation file; a `RecordTable` where there are many.
        class_names: one for each label; empty where nothing is annotated with boxes.
        attribute_names: one for each attribute; empty where there are none.
        describes: `describes(index, text)` tells whether the text is true of record `index`;
            None where nobody can know (every data set but the drawn world).
        notes: what was left out while reading and why, one line each.
        left_out: the same, counted.
        box_remedy: if there are no boxes, why that is and what to do about it.
        needs_boxes: whether an image is of no use where its boxes cannot be placed; if not, it is
            shown without them.
        is_unannotated: whether the files list images and say nothing of what is in them: a split
            whose answers are handed in.
        foreign_captions: captions of other images than these, for matching, where all of these
            images have the same caption.
        samples: what is asked or said about the records, by a downstream data set; where there is
            none, each record with its captions is a sample.
        collection: the name without the split; "" where it is not said.
        sources: of a mixture, which of its data sets each record is of, numbered from 0.
        titles: of a mixture, what each of its data sets is called, without the split.
        weights: of a mixture, relative shares of its data sets in an epoch; () for all of all.
    """

    name: str
    records: Sequence[Record]
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    describes: Truth | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    box_remedy: str = ""
    needs_boxes: bool = True
    is_unannotated: bool = False
    foreign_captions: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    collection: str = ""
    sources: tuple[int, ...] = ()
    titles: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.samples or self.records)

    @property
    def num_boxes(self) -> int:
        """Boxes of all records together."""
        return int(self.table.box_counts.sum())

    @cached_property
    def table(self) -> RecordTable:
        """The records as columns: what all of them are asked for is a matter of arrays."""
        return RecordTable.of(self.records)

    @cached_property
    def near_texts(self) -> NearTexts:
        """Captions of the records by all of their words but one."""
        return NearTexts(text for record in self.records for text in record.captions)

    @cached_property
    def epoch_shares(self) -> tuple[int, ...]:
        """How many records an epoch shows of each data set of a weighted mixture; else ().

        All of those of the largest weight; at least one of each that has any.
        """
        if not self.weights:
            return ()
        parts = [weight / max(self.weights) for weight in self.weights]
        counts = self.source_counts(len(parts))
        return tuple(min(n, max(1, round(w * n))) for w, n in zip(parts, counts, strict=True))

    @property
    def epoch_length(self) -> int:
        """Samples that an epoch shows."""
        return sum(self.epoch_shares) or len(self)

    def source_counts(self, sources: int) -> list[int]:
        """Records of each of so many data sets of a mixture."""
        counts: list[int] = np.bincount(
            np.array(self.sources, dtype=np.int64), minlength=sources
        ).tolist()
        return counts

    def peers(self, index: int, pool: int) -> range | np.ndarray:
        """Those of the first `pool` records that are of the same data set as record `index`."""
        return self.by_source(pool)[self.sources[index] if self.sources else 0]

    def by_source(self, pool: int) -> list[range | np.ndarray]:
        """The first `pool` records by the data set that they are of, ascending."""
        if not self.sources:
            return [range(pool)]
        return [own[: int(np.searchsorted(own, pool))] for own in self._places]

    @cached_property
    def _places(self) -> tuple[np.ndarray, ...]:
        """The records of each data set of a mixture, ascending."""
        sources = np.asarray(self.sources)
        return tuple(np.flatnonzero(sources == n) for n in range(sources.max() + 1))

    def selected(self, indices: Sequence[int]) -> Dataset:
        """The data set of some of the records, in the order of the indices.

        Of the samples those stay all of whose pictures do, in their own order.
        """
        places = {index: place for place, index in enumerate(indices)}
        return replace(
            self,
            records=self.table.selected(indices),
            describes=self.describes and self.describes.selected(indices),
            sources=tuple(self.sources[index] for index in indices if self.sources),
            samples=tuple(
                replace(sample, images=tuple(places[image] for image in sample.images))
                for sample in self.samples
                if all(image in places for image in sample.images)
            ),
        )

    def keys(self) -> list[int | str]:
        """The identity of each sample, or of each image where there are no samples."""
        return [s.key for s in self.samples] or list(self.table.image_ids)

    def units(self) -> list[int | str]:
        """What each sample is measured as a part of; each image where there are no samples."""
        return [s.unit for s in self.samples] or self.keys()

    def aspects(self) -> np.ndarray:
        """(n,) float64, width / height of each sample's first image."""
        sizes = self.table.sizes
        shapes: np.ndarray = sizes[:, 0] / sizes[:, 1]
        return shapes[[sample.images[0] for sample in self.samples]] if self.samples else shapes

    def captions(self) -> list[str]:
        """Every caption of every record, or every sample's text, in order."""
        if self.samples:
            return [sample.text for sample in self.samples]
        return list(self.table.captions())

    def has_one_caption(self) -> bool:
        """Whether all captions of all records are the same."""
        first = self.records[0].captions[0]
        return all(caption == first for caption in self.table.captions())
