"""COCO's average precision by faster-coco-eval, on images whose boxes were resized."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from vlp_fast.data.records import Record
from vlp_fast.tasks.detection import Prediction


class AveragePrecision:
    """Collects detections and scores them in the pixels of the annotation."""

    def __init__(self, records: Mapping[int, Record], class_names: Sequence[str]) -> None:
        self._records = records
        self._class_names = class_names
        self._found: list[dict[str, Any]] = []
        self._seen: list[int] = []

    def add(self, image_ids: Sequence[int], predictions: Sequence[Prediction]) -> None:
        """Add the detections of some images; one that stands in for a broken image only once."""
        for image_id, prediction in zip(image_ids, predictions, strict=True):
            if image_id in self._seen:
                continue
            record = self._records[image_id]
            scale = prediction.boxes.new_tensor([record.width, record.height] * 2)
            corners = (prediction.boxes * scale).tolist()
            self._seen.append(image_id)
            for (x1, y1, x2, y2), label, score in zip(
                corners, prediction.labels.tolist(), prediction.scores.tolist(), strict=True
            ):
                box = [x1, y1, x2 - x1, y2 - y1]
                self._found.append(
                    {"image_id": image_id, "category_id": label, "bbox": box, "score": score}
                )

    def summary(self) -> dict[str, float]:
        """AP over IoU .50:.95 and AP50; empty where faster-coco-eval is not installed."""
        try:
            from faster_coco_eval import COCO, COCOeval_faster
        except ImportError:
            return {}
        if not self._found:
            return {"ap": 0.0, "ap50": 0.0}
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(self._truth())
            score = COCOeval_faster(truth, truth.loadRes(self._found), "bbox")
            score.params.imgIds = sorted(set(self._seen))
            score.evaluate()
            score.accumulate()
            score.summarize()
        return {"ap": float(score.stats[0]), "ap50": float(score.stats[1])}

    def _truth(self) -> dict[str, Any]:
        annotations: list[dict[str, Any]] = []
        for image_id in sorted(set(self._seen)):
            record = self._records[image_id]
            for (x1, y1, x2, y2), label in zip(
                record.boxes.tolist(), record.labels.tolist(), strict=True
            ):
                box = [x1, y1, x2 - x1, y2 - y1]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": label,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
        images = [
            {"id": i, "width": self._records[i].width, "height": self._records[i].height}
            for i in sorted(set(self._seen))
        ]
        categories = [{"id": i, "name": name} for i, name in enumerate(self._class_names)]
        return {"images": images, "annotations": annotations, "categories": categories}
