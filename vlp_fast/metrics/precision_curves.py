"""Average precision from what each picture adds to it, so that pictures may be weighed anew.

The same as COCO's AP, of all sizes and the best 100 boxes, for pictures of weight 1. A picture that
is drawn twice has weight 2. Classes may be any number: only those in a picture are looked at.

Source: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py, accumulate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlp_fast.metrics.box_matching import THRESHOLDS, match_boxes, overlaps
from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes

RECALLS = np.linspace(0, 1, 101)
MOST = 100
"""Boxes of a class in a picture."""
BLOCK = 2**21
"""Numbers at once where pictures are weighed anew."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Of one class: its boxes in all pictures, the surest first, and where its objects are.

    Attributes:
        pictures: (d,) int64, of each box.
        is_right: (T, d) bool, at each overlap.
        is_wrong: (T, d) bool; neither where it is matched with what is ignored.
        objects: (n,) int64, the picture of each object that counts.
    """

    pictures: np.ndarray
    is_right: np.ndarray
    is_wrong: np.ndarray
    objects: np.ndarray

    def average_precisions(self, weights: np.ndarray) -> np.ndarray:
        """Means over overlaps and recalls.

        Args:
            weights: (R, P) float64, of each picture, R times.

        Returns:
            (R,) float64, NaN where no object has weight.
        """
        rows = max(1, BLOCK // max(1, self.is_right.size))
        blocks = [weights[i : i + rows] for i in range(0, len(weights), rows)]
        return np.concatenate([self._of_block(block) for block in blocks])

    def _of_block(self, weights: np.ndarray) -> np.ndarray:
        total = weights[:, self.objects].sum(axis=1)
        of_boxes = weights[:, None, self.pictures]
        # Recall grows at right boxes alone, and between them precision falls.
        steps = self.is_right.any(axis=0)
        right = np.cumsum(self.is_right[:, steps] * of_boxes[..., steps], axis=2)
        wrong = np.cumsum(self.is_wrong * of_boxes, axis=2)[..., steps]
        precision = right / (right + wrong + np.spacing(1))
        # At any recall, the best precision at that or a larger one.
        best = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
        recall = right / np.maximum(total, 1)[:, None, None]
        reached = np.searchsorted(RECALLS, recall, side="right")
        gained = np.diff(reached, axis=2, prepend=0)
        means = (best * gained).sum(axis=(1, 2)) / (len(THRESHOLDS) * len(RECALLS))
        return np.where(total > 0, means, np.nan)


class PrecisionCurves:
    """The curves of all classes that have an object.

    Args:
        truth: objects.
        found: boxes.
        num_pictures: P.
        is_ignored: (g,) bool, objects with which a box is neither right nor wrong, besides crowds.
    """

    def __init__(
        self,
        truth: TrueBoxes,
        found: FoundBoxes,
        *,
        num_pictures: int,
        is_ignored: np.ndarray | None = None,
    ) -> None:
        ignored = np.zeros(len(truth.labels), dtype=bool) if is_ignored is None else is_ignored
        self._num_pictures = num_pictures
        self._curves = tuple(_curves(truth, found, ignored | truth.is_crowd))

    def __len__(self) -> int:
        return len(self._curves)

    def average_precision(self) -> float | None:
        """The mean over classes; None where there is no object."""
        (value,) = self.average_precisions(np.ones((1, self._num_pictures))).tolist()
        return None if np.isnan(value) else value

    def average_precisions(self, weights: np.ndarray) -> np.ndarray:
        """The mean over the classes that have objects, of pictures weighed anew.

        Args:
            weights: (R, P) float64, of each picture, R times: how often it is there.

        Returns:
            (R,) float64, NaN where no object has weight.
        """
        total, known = np.zeros(len(weights)), np.zeros(len(weights))
        for curve in self._curves:
            values = curve.average_precisions(weights)
            total += np.nan_to_num(values)
            known += ~np.isnan(values)
        means: np.ndarray = np.where(known > 0, total / np.maximum(known, 1), np.nan)
        return means


def _curves(truth: TrueBoxes, found: FoundBoxes, is_ignored: np.ndarray) -> Iterator[Curve]:
    objects = _by_class(truth.labels, np.arange(len(truth.labels)))
    # By picture, and in each the surest first: as COCO lays them before it sorts all by score.
    order = np.lexsort((-found.scores, found.pictures))
    boxes = _by_class(found.labels[order], order)
    for label, rows in objects.items():
        counted = rows[~is_ignored[rows]]
        if len(counted):
            guesses = boxes.get(label, order[:0])
            yield _curve(truth, found, is_ignored, rows, guesses, truth.pictures[counted])


def _by_class(labels: np.ndarray, rows: np.ndarray) -> dict[int, np.ndarray]:
    """The rows of each label, in their order."""
    order = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[order], return_index=True)
    ends = [*starts[1:], len(rows)]
    return {
        name: rows[order[start:end]]
        for name, start, end in zip(names.tolist(), starts, ends, strict=False)
    }


def _curve(
    truth: TrueBoxes,
    found: FoundBoxes,
    is_ignored: np.ndarray,
    objects: np.ndarray,
    boxes: np.ndarray,
    counted: np.ndarray,
) -> Curve:
    """The curve of one class, of which these are the rows."""
    there: dict[int, list[int]] = defaultdict(list)
    for row, picture in zip(objects.tolist(), truth.pictures[objects].tolist(), strict=True):
        there[picture].append(row)
    kept, right, wrong = [boxes[:0]], [], []
    for picture, own in _by_class(found.pictures[boxes], boxes).items():
        mine, rows = own[:MOST], there.get(picture, [])
        crowd = truth.is_crowd[rows]
        ious = overlaps(found.boxes[mine], truth.boxes[rows], crowd)
        is_matched, with_ignored = match_boxes(ious, is_ignored[rows], crowd)
        kept.append(mine)
        right.append(is_matched & ~with_ignored)
        wrong.append(~is_matched)
    every, none = np.concatenate(kept), np.zeros((len(THRESHOLDS), 0), dtype=bool)
    order = np.argsort(-found.scores[every], kind="stable")
    return Curve(
        pictures=found.pictures[every][order],
        is_right=np.concatenate([none, *right], axis=1)[:, order],
        is_wrong=np.concatenate([none, *wrong], axis=1)[:, order],
        objects=counted,
    )
