"""How much there is of what: sizes, classes, attributes, captions an image, lengths of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlp_fast.data.audit.splits import Split
from vlp_fast.data.records import Dataset

QUANTILES = (0.0, 0.5, 0.95, 0.99, 1.0)
"""Of lengths: shortest, median, ..., longest."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of one split.

    Attributes:
        title: folder, data set and split.
        images: pictures.
        samples: of a downstream task; 0 where pictures with their captions are what is learnt.
        texts: captions, or texts of samples.
        texts_per_image: fewest, mean and most.
        words: QUANTILES of the words of a text.
        boxes: of all pictures.
        classes: boxes of each class, the most first.
        attributes: boxes with each attribute, the most first.
    """

    title: str
    images: int
    samples: int
    texts: int
    texts_per_image: tuple[float, float, float]
    words: tuple[float, ...]
    boxes: int
    classes: dict[str, int]
    attributes: dict[str, int]


def count(split: Split) -> Counts:
    """Count what a split has, which has to be one that could be read."""
    dataset = split.dataset
    assert dataset is not None
    texts = dataset.captions()
    words = np.array([len(text.split()) for text in texts] or [0])
    each = _texts_per_image(dataset)
    return Counts(
        title=split.title,
        images=len(dataset.records),
        samples=len(dataset.samples),
        texts=len(texts),
        texts_per_image=(float(each.min()), float(each.mean()), float(each.max())),
        words=tuple(float(x) for x in np.quantile(words, QUANTILES, method="lower")),
        boxes=dataset.num_boxes,
        classes=_by_name(dataset.class_names, [r.labels for r in dataset.records]),
        attributes=_by_name(dataset.attribute_names, [r.attributes for r in dataset.records]),
    )


def _texts_per_image(dataset: Dataset) -> np.ndarray:
    if not dataset.samples:
        return np.array([len(record.captions) for record in dataset.records])
    shown = [image for sample in dataset.samples for image in sample.images]
    return np.bincount(shown, minlength=len(dataset.records))


def _by_name(names: Sequence[str], numbers: Sequence[np.ndarray]) -> dict[str, int]:
    """How often each number of a name is there; -1 stands for none."""
    if not names:
        return {}
    all_of_them = np.concatenate(numbers)
    counts = np.bincount(all_of_them[all_of_them >= 0], minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    found: dict[str, int] = {}
    for number in order.tolist():
        found[names[number]] = found.get(names[number], 0) + int(counts[number])
    return found
