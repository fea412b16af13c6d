"""COCO's average precision in the frame of the picture as the model sees it (upright, resized).

Intersection over union does not depend on the frame, and annotations may be in another one. Areas
are those of boxes, and crowds are left out; `coco_protocol.py` has the numbers that papers print.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes
from vlp_fast.metrics.coco_protocol import coco_numbers, is_available


class AveragePrecision:
    """Collects truth and detections, picture by picture.

    Args:
        class_names: of the labels, in order.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._truth: dict[int | str, tuple[np.ndarray, np.ndarray]] = {}
        self._found: dict[int | str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def add(
        self,
        image_ids: Sequence[int | str],
        image_sizes: Sequence[tuple[int, int]],
        truth: Sequence[tuple[np.ndarray, np.ndarray]],
        found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    ) -> None:
        """Add some pictures; one that stands in for a broken one counts only once.

        Args:
            image_ids: identities.
            image_sizes: (height, width) of each, in pixels.
            truth: boxes (n, 4) and labels (n,) annotated in each.
            found: boxes (m, 4), labels (m,) and scores (m,) detected in each. All boxes are
                (x1, y1, x2, y2) in [0, 1] of the picture.
        """
        for i, image_id in enumerate(image_ids):
            if image_id in self._truth:
                continue
            boxes, labels = truth[i]
            self._truth[image_id] = _in_pixels(boxes, image_sizes[i]), labels
            boxes, labels, scores = found[i]
            self._found[image_id] = _in_pixels(boxes, image_sizes[i]), labels, scores

    def summary(self) -> dict[str, float]:
        """AP over IoU .50:.95 and AP50; empty where faster-coco-eval is not installed."""
        if not is_available():
            return {}
        truth, found = self._true_boxes(), self._found_boxes()
        if not len(truth.labels) or not len(found.labels):
            return {"ap": 0.0, "ap50": 0.0}
        numbers = coco_numbers(
            truth, found, num_pictures=len(self._truth), num_classes=len(self._class_names)
        )
        return {name: numbers[name] for name in ("ap", "ap50")}

    def _true_boxes(self) -> TrueBoxes:
        parts = [self._truth[image_id] for image_id in sorted(self._truth)]
        boxes = _joined([boxes for boxes, _ in parts], 4)
        return TrueBoxes(
            pictures=np.repeat(np.arange(len(parts)), [len(labels) for _, labels in parts]),
            labels=_joined([labels for _, labels in parts]),
            boxes=boxes,
            areas=boxes[:, 2] * boxes[:, 3],
            is_crowd=np.zeros(len(boxes), dtype=bool),
        )

    def _found_boxes(self) -> FoundBoxes:
        parts = [self._found[image_id] for image_id in sorted(self._found)]
        return FoundBoxes(
            pictures=np.repeat(np.arange(len(parts)), [len(labels) for _, labels, _ in parts]),
            labels=_joined([labels for _, labels, _ in parts]),
            boxes=_joined([boxes for boxes, _, _ in parts], 4),
            scores=_joined([scores for _, _, scores in parts]),
        )


def _in_pixels(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(x1, y1, x2, y2) in [0, 1] to (x, y, width, height)."""
    height, width = size
    corners = (boxes * np.array([width, height] * 2, boxes.dtype)).astype(np.float64)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)


def _joined(parts: Sequence[np.ndarray], columns: int = 0) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros((0, columns) if columns else 0)
