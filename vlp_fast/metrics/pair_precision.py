"""Average precision over pairs of class and attribute: a brown dog is found where both are said.

An object has one attribute or none that anybody annotated. One without says nothing against any: a
box of its class that is matched with it is neither right nor wrong.
"""

from __future__ import annotations

import numpy as np

from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes
from vlp_fast.metrics.precision_curves import PrecisionCurves


def pair_curves(
    truth: TrueBoxes,
    attributes: np.ndarray,
    found: FoundBoxes,
    found_attributes: np.ndarray,
    *,
    num_pictures: int,
    num_attributes: int,
) -> PrecisionCurves:
    """The curves of all pairs that an object is annotated with.

    Args:
        truth: objects.
        attributes: (g,) int64, of each object, -1 where none is annotated.
        found: boxes; their scores are those of the pair.
        found_attributes: (d,) int64, of each box.
        num_pictures: of all.
        num_attributes: R.
    """
    pairs = found.labels * num_attributes + found_attributes
    known = (attributes >= 0) & ~truth.is_crowd
    objects, of_pair = _unknown(truth, ~known, found, pairs, num_attributes)
    rows = np.concatenate([np.flatnonzero(known), objects])
    own = (truth.labels * num_attributes + attributes)[known]
    return PrecisionCurves(
        TrueBoxes(
            pictures=truth.pictures[rows],
            labels=np.concatenate([own, of_pair]),
            boxes=truth.boxes[rows],
            areas=truth.areas[rows],
            is_crowd=truth.is_crowd[rows],
        ),
        FoundBoxes(pictures=found.pictures, labels=pairs, boxes=found.boxes, scores=found.scores),
        num_pictures=num_pictures,
        is_ignored=np.arange(len(rows)) >= len(own),
    )


def _unknown(
    truth: TrueBoxes,
    is_unknown: np.ndarray,
    found: FoundBoxes,
    pairs: np.ndarray,
    num_attributes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Each object of unknown attribute, once for every pair of its class found in its picture.

    Returns:
        Rows of the objects, and the pair that each stands in the way of; (n,) int64 both.
    """
    classes = 1 + max(truth.labels.max(initial=0), found.labels.max(initial=0))
    there = np.unique(np.stack([found.pictures, pairs], axis=1), axis=0)
    places = there[:, 0] * classes + there[:, 1] // num_attributes  # ascending, as the rows are
    rows = np.flatnonzero(is_unknown)
    wanted = truth.pictures[rows] * classes + truth.labels[rows]
    first, last = (np.searchsorted(places, wanted, side=side) for side in ("left", "right"))
    counts = last - first
    starts = np.repeat(first - (np.cumsum(counts) - counts), counts)
    return np.repeat(rows, counts), there[starts + np.arange(counts.sum()), 1]
