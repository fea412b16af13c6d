"""COCO's twelve numbers of boxes, by faster-coco-eval.

Overlaps of .50 to .95, 101 recalls, the best 1, 10 and 100 boxes of a class in a picture; per class
first, then the mean over classes that have objects. Crowds are regions where nothing counts.

Source: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes

NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)
"""AP over overlaps, at .50, at .75, of small, medium and large objects (32**2 and 96**2 pixels);
recall over overlaps, of 1, 10 and 100 boxes, and of small, medium and large objects."""
CELLS = 500_000
"""Pairs of picture and class that are evaluated at once; COCO has 400,000. 1,600 classes on 1,000
pictures took 2.4 GB at once."""


def is_available() -> bool:
    """Whether faster-coco-eval is installed; without it there are no figures."""
    return find_spec("faster_coco_eval") is not None


def coco_numbers(
    truth: TrueBoxes, found: FoundBoxes, *, num_pictures: int, num_classes: int
) -> dict[str, float]:
    """Score what was found in pictures.

    Args:
        truth: objects.
        found: boxes with scores.
        num_pictures: of all, also those without objects and those where nothing was found. Their
            numbers are in the order of their ids, by which COCO breaks ties.
        num_classes: of all.

    Returns:
        The numbers by name, -1 where no class has such objects; {} without faster-coco-eval.
    """
    if not is_available():
        return {}
    width = max(1, CELLS // max(1, num_pictures))
    parts = [
        _evaluated(truth, found, num_pictures, range(start, min(start + width, num_classes)))
        for start in range(0, num_classes, width)
    ]
    precision = np.concatenate([part[0] for part in parts], axis=2)
    recall = np.concatenate([part[1] for part in parts], axis=1)
    return dict(zip(NAMES, _summary(precision, recall), strict=True))


def _summary(precision: np.ndarray, recall: np.ndarray) -> Iterator[float]:
    """Means of (overlaps, recalls, classes, sizes, counts) and (overlaps, classes, sizes, counts).

    Of overlaps, the first is .50 and the sixth .75; of sizes, the first is all; of counts, the last
    is 100.
    """
    best = precision[..., -1]
    yield from (_mean(values) for values in (best[..., 0], best[:1, ..., 0], best[5:6, ..., 0]))
    yield from (_mean(best[..., size]) for size in (1, 2, 3))
    yield from (_mean(recall[:, :, 0, count]) for count in (0, 1, 2))
    yield from (_mean(recall[..., size, -1]) for size in (1, 2, 3))


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(np.mean(known)) if known.size else -1.0


def _evaluated(
    truth: TrueBoxes, found: FoundBoxes, num_pictures: int, classes: range
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of some classes, as the library lays them out.

    A class is scored by itself, so it makes no difference which others are looked at with it.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    listed = {
        "images": [{"id": number} for number in range(1, num_pictures + 1)],
        "categories": [{"id": number, "name": str(number)} for number in classes],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        score = COCOeval_faster(
            COCO({**listed, "annotations": _objects(truth, classes)}),
            COCO({**listed, "annotations": _detections(found, classes)}),
            "bbox",
        )
        score.evaluate()
        score.accumulate()
    return np.asarray(score.eval["precision"]), np.asarray(score.eval["recall"])


def _objects(truth: TrueBoxes, classes: Sequence[int]) -> list[dict[str, Any]]:
    columns = (truth.pictures, truth.labels, truth.boxes, truth.areas, truth.is_crowd)
    return _entries(columns, truth.labels, classes)


def _detections(found: FoundBoxes, classes: Sequence[int]) -> list[dict[str, Any]]:
    no_crowd = np.zeros(len(found.labels), dtype=bool)
    areas = found.boxes[:, 2] * found.boxes[:, 3]
    columns = (found.pictures, found.labels, found.boxes, areas, no_crowd, found.scores)
    return _entries(columns, found.labels, classes)


def _entries(
    columns: Sequence[np.ndarray], labels: np.ndarray, classes: Sequence[int]
) -> list[dict[str, Any]]:
    """Rows as in COCO's files; numbered from 1, for 0 is no id to the library."""
    kept = (labels >= classes[0]) & (labels <= classes[-1])
    rows = zip(*(column[kept].tolist() for column in columns), strict=True)
    return [
        {
            "id": number,
            "image_id": picture + 1,
            "category_id": label,
            "bbox": box,
            "area": area,
            "iscrowd": int(is_crowd),
            **({"score": rest[0]} if rest else {}),
        }
        for number, (picture, label, box, area, is_crowd, *rest) in enumerate(rows, 1)
    ]
