"""COCO's matching of boxes with objects, a picture and a class at a time.

faster-coco-eval keeps what it matches to itself; a bootstrap over pictures and classes by the ten
thousand (`precision_curves.py`) need it picture by picture.

Source: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py, evaluateImg.
"""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps, intersection over union."""


def overlaps(found: np.ndarray, true: np.ndarray, is_crowd: np.ndarray) -> np.ndarray:
    """Intersection over union; with a crowd, over the area of what was found.

    Args:
        found: (d, 4) float64, (x, y, width, height).
        true: (g, 4) float64, likewise.
        is_crowd: (g,) bool.

    Returns:
        (d, g) float64; 0 where nothing is common.
    """
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum((found[:, :2] + found[:, 2:])[:, None], (true[:, :2] + true[:, 2:])[None])
    common = (high - low).clip(min=0).prod(axis=2)
    own = found[:, 2:].prod(axis=1)[:, None]
    union = np.where(is_crowd, own, own + true[:, 2:].prod(axis=1) - common)
    shares: np.ndarray = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    return shares


def match_boxes(
    ious: np.ndarray, is_ignored: np.ndarray, is_crowd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match each box, the surest first, with the free object that it overlaps most.

    Objects that count come before those that are ignored; a crowd is never used up.

    Args:
        ious: (d, g) of boxes by falling score.
        is_ignored: (g,) bool, objects with which a box is neither right nor wrong.
        is_crowd: (g,) bool, ignored too.

    Returns:
        (T, d) bool whether each box is matched at each of `THRESHOLDS`, and whether it is so with
        an ignored object.
    """
    is_ignored = is_ignored | is_crowd
    is_free = np.ones((len(THRESHOLDS), len(is_crowd)), dtype=bool)
    matched = np.zeros((2, len(THRESHOLDS), len(ious)), dtype=bool)
    for box, row in enumerate(ious):
        reached = row >= THRESHOLDS[:, None]
        for place, kind in enumerate((~is_ignored, is_ignored)):
            if not kind.any():
                continue
            usable = reached & kind & (is_free | is_crowd) & ~matched[0, :, box, None]
            best = _last_largest(np.where(usable, row, -1.0))
            at = np.flatnonzero(usable[np.arange(len(usable)), best])
            is_free[at, best[at]] = False
            matched[:, at, box] = [[True], [bool(place)]]
    return matched[0], matched[1]


def _last_largest(rows: np.ndarray) -> np.ndarray:
    """Column of the largest value of each row; of equal ones the last, as COCO has it."""
    last: np.ndarray = rows.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    return last
