"""Annotated objects as their files state them: what COCO's protocol compares with.

Records hold boxes to learn from: clipped, of positive extent, without crowds. Here are all, in
pixels of the annotated frame, for the pictures of one split that is measured on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlp_fast.data.printable import printable
from vlp_fast.data.record_table import RecordTable
from vlp_fast.errors import InputError

OBJECTS = ("image_ids", "labels", "boxes", "areas", "is_crowd", "attributes")
"""Columns with a row for each object."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotations:
    """Objects of some pictures, g in all, in the order of their file.

    Attributes:
        class_names: of the labels.
        category_ids: of the classes, as the files number them.
        listed: (n,) int64, images that the files know, with or without objects; of others nobody
            says what is in them.
        image_ids: (g,) int64, the image of each object.
        labels: (g,) int64, classes from 0.
        boxes: (g, 4) float64, (x, y, width, height), neither clipped nor rounded.
        areas: (g,) float64, in pixels; of the object, not of its box, where the file says so.
        is_crowd: (g,) bool, a region with several objects.
        attributes: (g,) int64, -1 where none is annotated.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    listed: np.ndarray
    image_ids: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    is_crowd: np.ndarray
    attributes: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)

    def of(self, image_ids: Iterable[int]) -> Annotations:
        """Those of some images."""
        wanted = np.fromiter(image_ids, dtype=np.int64)
        kept = np.isin(self.image_ids, wanted)
        objects = {name: getattr(self, name)[kept] for name in OBJECTS}
        return replace(self, listed=self.listed[np.isin(self.listed, wanted)], **objects)

    def category_ids_of(self, class_names: Sequence[str]) -> list[int]:
        """The files' numbers of classes of these names.

        Raises:
            InputError: if the files have other classes.
        """
        numbers = dict(zip(self.class_names, self.category_ids, strict=True))
        for name in class_names:
            if name not in numbers:
                raise InputError(
                    f"the model finds {printable(name)!r}, and the files of the split number no "
                    "class of that name; give a split with the classes that it was trained on"
                )
        return [numbers[name] for name in class_names]


def annotations_of(table: RecordTable, class_names: tuple[str, ...]) -> Annotations:
    """What records say, where files have neither areas nor crowds: an area is its box's."""
    counts = table.box_counts
    parts = list(table.box_parts())
    corners = np.concatenate([np.zeros((0, 4)), *(boxes for boxes, _, _ in parts)])
    sides = corners[:, 2:] - corners[:, :2]
    none = np.zeros(0, dtype=np.int64)
    return Annotations(
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        listed=np.array(table.image_ids, dtype=np.int64),
        image_ids=np.repeat(np.array(table.image_ids, dtype=np.int64), counts),
        labels=np.concatenate([none, *(labels for _, labels, _ in parts)]),
        boxes=np.concatenate([corners[:, :2], sides], axis=1),
        areas=sides.prod(axis=1),
        is_crowd=np.zeros(len(corners), dtype=bool),
        attributes=np.concatenate([none, *(attributes for _, _, attributes in parts)]),
    )


def nothing_annotated(class_names: tuple[str, ...], category_ids: tuple[int, ...]) -> Annotations:
    """Of a split whose files name the classes and say nothing of what is in its images."""
    none = np.zeros(0, dtype=np.int64)
    return Annotations(
        class_names=class_names,
        category_ids=category_ids,
        listed=none,
        image_ids=none,
        labels=none,
        boxes=np.zeros((0, 4)),
        areas=np.zeros(0),
        is_crowd=none.astype(bool),
        attributes=none,
    )
