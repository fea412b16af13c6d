"""What a data set is once its annotation files are read: records without pixels.

Everything here is host data in NumPy and plain Python, so that worker processes share it cheaply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from vlp_fast.data.samples import Sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """One image with its annotations.

    Attributes:
        image_id: the id that the annotation files give.
        path: the image file.
        width: pixels, in the frame that `boxes` refer to; 1 where it is unknown.
        height: pixels, likewise.
        captions: whitespace collapsed; at least one where captions are what is learnt from.
        boxes: (n, 4) float32, (x1, y1, x2, y2) in pixels of the width x height frame, clipped to
            it, of positive extent.
        labels: (n,) int64, contiguous classes from 0.
        attributes: (n,) int64, -1 where none is annotated.
        coco_id: the picture's id in COCO, where the files tell it.
    """

    image_id: int
    path: Path
    width: int
    height: int
    captions: tuple[str, ...]
    boxes: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    coco_id: int | None = None


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
        records: in the order of the annotation file.
        class_names: one for each label; empty where nothing is annotated with boxes.
        attribute_names: one for each attribute; empty where there are none.
        describes: `describes(index, text)` tells whether the text is true of record `index`;
            None where nobody can know (every data set but the drawn world).
        notes: what was left out while reading and why, one line each.
        left_out: the same, counted.
        box_remedy: if there are no boxes, why that is and what to do about it.
        needs_boxes: whether an image is of no use where its boxes cannot be placed; if not, it is
            shown without them.
        foreign_captions: captions of other images than these, for matching, where all of these
            images have the same caption.
        samples: what is asked or said about the records, by a downstream data set; where there is
            none, each record with its captions is a sample.
        collection: the name without the split; "" where it is not said.
        sources: of a mixture, which of its data sets each record is of, numbered from 0.
        weights: of a mixture, relative shares of its data sets in an epoch; () for all of all.
    """

    name: str
    records: tuple[Record, ...]
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    describes: Truth | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    box_remedy: str = ""
    needs_boxes: bool = True
    foreign_captions: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    collection: str = ""
    sources: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.samples or self.records)

    @property
    def num_boxes(self) -> int:
        """Boxes of all records together."""
        return sum(len(record.labels) for record in self.records)

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
            records=tuple(self.records[index] for index in indices),
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
        return [s.key for s in self.samples] or [r.image_id for r in self.records]

    def aspects(self) -> np.ndarray:
        """(n,) float64, width / height of each sample's first image."""
        shapes = np.array([r.width / r.height for r in self.records])
        return shapes[[sample.images[0] for sample in self.samples]] if self.samples else shapes

    def captions(self) -> list[str]:
        """Every caption of every record, or every sample's text, in order."""
        if self.samples:
            return [sample.text for sample in self.samples]
        return [caption for record in self.records for caption in record.captions]

    def has_one_caption(self) -> bool:
        """Whether all captions of all records are the same."""
        first = self.records[0].captions[0]
        return all(caption == first for record in self.records for caption in record.captions)
