"""COCO's average precision by faster-coco-eval.

Truth and detections are taken in the frame of the picture as the model sees it (upright, resized):
intersection over union does not depend on the frame, and annotations may be in another one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np


def is_available() -> bool:
    """Whether faster-coco-eval is installed; without it there are no figures."""
    return find_spec("faster_coco_eval") is not None


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
                numbers = {"id": len(self._truth) + 1, "area": area, "iscrowd": 0}
                self._truth.append({**entry, **numbers})
            boxes, labels, scores = found[i]
            for entry, score in zip(
                self._entries(image_id, boxes, labels), scores.tolist(), strict=True
            ):
                self._found.append({**entry, "score": score})

    def summary(self) -> dict[str, float]:
        """AP over IoU .50:.95 and AP50; empty where faster-coco-eval is not installed."""
        try:
            from faster_coco_eval import COCO, COCOeval_faster
        except ImportError:
            return {}
        if not self._found or not self._truth:
            return {"ap": 0.0, "ap50": 0.0}
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(self._dataset())
            score = COCOeval_faster(truth, truth.loadRes(self._found), "bbox")
            score.params.imgIds = sorted(self._images)
            score.evaluate()
            score.accumulate()
            score.summarize()
        return {"ap": float(score.stats[0]), "ap50": float(score.stats[1])}

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

    def _dataset(self) -> dict[str, Any]:
        images = [{"id": i, "height": h, "width": w} for i, (h, w) in self._images.items()]
        categories = [{"id": i, "name": name} for i, name in enumerate(self._class_names)]
        return {"images": images, "annotations": self._truth, "categories": categories}
