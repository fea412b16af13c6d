"""COCO's twelve numbers of boxes, by faster-coco-eval.

Overlaps of .50 to .95, 101 recalls, the best 1, 10 and 100 boxes of a class in a picture; per class
first, then the mean over classes that have objects. Crowds are regions where nothing counts.

Source: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

NAMES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)
"""AP over overlaps, at .50, at .75, of small, medium and large objects (32**2 and 96**2 pixels);
recall over overlaps, of 1, 10 and 100 boxes, and of small, medium and large objects."""
CELLS = 500_000
"""Pairs of picture and class that are evaluated at once; COCO has 400,000. 1,600 classes on 1,000
pictures took 2.4 GB at once."""

Box = dict[str, Any]
"""As in COCO's files: image_id, category_id, bbox (x, y, width, height); of an object area and
iscrowd, of what was found score."""


def is_available() -> bool:
    """Whether faster-coco-eval is installed; without it there are no figures."""
    return find_spec("faster_coco_eval") is not None


def coco_numbers(
    image_ids: Collection[int | str],
    truth: Iterable[Box],
    found: Iterable[Box],
    *,
    num_classes: int,
) -> dict[str, float]:
    """Score what was found in pictures.

    Args:
        image_ids: all pictures, also those without objects and those where nothing was found.
        truth: objects, in the order of their file.
        found: boxes with scores.
        num_classes: classes are numbered from 0.

    Returns:
        The numbers by name, -1 where no class has such objects; {} without faster-coco-eval.
    """
    if not is_available():
        return {}
    # Numbered from 1 in their order, which breaks ties: ids may be text, and 0 is no id to the
    # library.
    numbers = {name: number for number, name in enumerate(sorted(image_ids), 1)}
    parts = [
        _evaluated(images, classes, some_truth, some_found)
        for images, classes, some_truth, some_found in _chunks(numbers, truth, found, num_classes)
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


def _chunks(
    numbers: dict[int | str, int], truth: Iterable[Box], found: Iterable[Box], num_classes: int
) -> Iterator[tuple[Sequence[int], Sequence[int], list[Box], list[Box]]]:
    """As many classes at once as `CELLS` allows, with the pictures that have anything of them.

    A class is scored by itself, so the numbers are the same; where all fit, it is all pictures.
    """
    width = max(1, CELLS // max(1, len(numbers)))
    by_chunk: dict[int, tuple[list[Box], list[Box]]] = defaultdict(lambda: ([], []))
    for place, boxes in enumerate((truth, found)):
        for box in boxes:
            own = {**box, "image_id": numbers[box["image_id"]]}
            by_chunk[box["category_id"] // width][place].append(own)
    for chunk, start in enumerate(range(0, num_classes, width)):
        objects, guesses = by_chunk.pop(chunk, ([], []))
        images: Sequence[int] = range(1, len(numbers) + 1)
        if num_classes > width:
            images = sorted({box["image_id"] for box in (*objects, *guesses)})
        yield images, range(start, min(start + width, num_classes)), objects, guesses


def _evaluated(
    images: Sequence[int], classes: Sequence[int], truth: list[Box], found: list[Box]
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of some classes, as the library lays them out."""
    from faster_coco_eval import COCO, COCOeval_faster

    listed = {
        "images": [{"id": number} for number in images],
        "categories": [{"id": number, "name": str(number)} for number in classes],
    }
    for number, box in enumerate(truth, 1):
        box["id"] = number
    for number, box in enumerate(found, 1):
        box |= {"id": number, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0}
    with contextlib.redirect_stdout(io.StringIO()):
        score = COCOeval_faster(
            COCO({**listed, "annotations": truth}), COCO({**listed, "annotations": found}), "bbox"
        )
        score.evaluate()
        score.accumulate()
    return np.asarray(score.eval["precision"]), np.asarray(score.eval["recall"])
