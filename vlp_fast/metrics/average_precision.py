"""COCO's average precision by faster-coco-eval.

Truth and detections are taken in the frame of the picture as the model sees it (upright, resized):
intersection over union does not depend on the frame, and annotations may be in another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlp_fast.metrics.coco_protocol import coco_numbers, is_available


class AveragePrecision:
    """Collects truth and detections, picture by picture.

    Args:
        class_names: of the labels, in order.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        self._images: dict[int | str, tuple[int, int]] = {}
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

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
            if image_id in self._images:
                continue
            self._images[image_id] = image_sizes[i]
            for entry in self._entries(image_id, *truth[i]):
                area = entry["bbox"][2] * entry["bbox"][3]
                self._truth.append({**entry, "area": area, "iscrowd": 0})
            boxes, labels, scores = found[i]
            for entry, score in zip(
                self._entries(image_id, boxes, labels), scores.tolist(), strict=True
            ):
                self._found.append({**entry, "score": score})

    def summary(self) -> dict[str, float]:
        """AP over IoU .50:.95 and AP50; empty where faster-coco-eval is not installed."""
        if not is_available():
            return {}
        if not self._found or not self._truth:
            return {"ap": 0.0, "ap50": 0.0}
        numbers = coco_numbers(
            self._images, self._truth, self._found, num_classes=len(self._class_names)
        )
        return {name: numbers[name] for name in ("ap", "ap50")}

    def _entries(
        self, image_id: int | str, boxes: np.ndarray, labels: np.ndarray
    ) -> list[dict[str, Any]]:
        """COCO's records of (x1, y1, x2, y2) boxes in [0, 1]: x, y, width, height in pixels."""
        height, width = self._images[image_id]
        corners = (boxes * np.array([width, height, width, height], boxes.dtype)).tolist()
        return [
            {"image_id": image_id, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for (x1, y1, x2, y2), label in zip(corners, labels.tolist(), strict=True)
        ]
