"""Held-out figures of detection: COCO's protocol in a column for each text.

Answers are placed in the annotated frame. A picture that is broken has no answer; its objects count
all the same, as they would on the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vlp_fast.data.annotations import Annotations
from vlp_fast.data.upright import annotated_boxes
from vlp_fast.metrics.coco_protocol import coco_numbers
from vlp_fast.models.e2e_vlp import Detections
from vlp_fast.ops.boxes import cxcywh_to_xyxy
from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.detection.batch import DetectionInputs, Frame
from vlp_fast.tasks.detection.set_prediction import Prediction, read_out
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.task import Figures

if TYPE_CHECKING:
    from vlp_fast.tasks.detection.detection import Detection


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What is found in a picture, n boxes, the best first.

    Attributes:
        boxes: (n, 4) float64, (x, y, width, height) in pixels of the annotated frame.
        labels: (n,) int64.
        scores: (n,) float32.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


Answers = dict[int, Answer]
"""By image id."""


def detection_figures(task: Detection, held_out: HeldOut) -> Figures:
    """Losses of the first column, and COCO's twelve numbers of each."""
    averages = Averages()
    columns: dict[str, Answers] = {text: {} for text in task.texts}
    for inputs in held_out.batches():
        with held_out.runtime.autocast():
            found = task.detect(task.learner, inputs)
            averages.add_output(task.output(found, inputs))
        for text, answers in zip(task.texts, answers_of(found, inputs), strict=True):
            columns[text] |= answers
    images = [task.held_out.table.image_ids[index] for index in held_out.indices]
    truth = task.annotations.of(images)
    figures = averages.means()
    for text, answers in columns.items():
        figures |= {f"{n}_{text}_text": v for n, v in _numbers(truth, answers).items() if v >= 0}
    return figures


def answers_of(found: Detections, inputs: DetectionInputs) -> list[Answers]:
    """What the last layer finds, column by column, in the frames of the pictures asked for."""
    kinds = found.attribute_logits
    everything = read_out(
        found.logits[-1],
        cxcywh_to_xyxy(found.boxes[-1].float()),
        None if kinds is None else kinds[-1],
    )
    pictures = len(inputs.image_ids)
    columns = [everything[i : i + pictures] for i in range(0, len(everything), pictures)]
    return [
        {
            image_id: _placed(prediction, frame)
            for image_id, prediction, frame in zip(
                inputs.image_ids, column, inputs.frames, strict=True
            )
            if frame.is_asked
        }
        for column in columns
    ]


def _placed(prediction: Prediction, frame: Frame) -> Answer:
    fractions = annotated_boxes(prediction.boxes.double().numpy(), frame.turn)
    corners = fractions * np.array([frame.width, frame.height] * 2)
    return Answer(
        boxes=np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        labels=prediction.labels.numpy(),
        scores=prediction.scores.numpy(),
    )


def _numbers(truth: Annotations, answers: Answers) -> dict[str, float]:
    return coco_numbers(
        truth.listed.tolist(),
        _objects(truth),
        _found(truth, answers),
        num_classes=len(truth.class_names),
    )


def _found(truth: Annotations, answers: Answers) -> Iterator[dict[str, Any]]:
    """Of the pictures of which anybody knows what is in them."""
    for image_id in truth.listed.tolist():
        answer = answers.get(image_id)
        if answer is None:
            continue
        rows = zip(
            answer.boxes.tolist(), answer.labels.tolist(), answer.scores.tolist(), strict=True
        )
        for box, label, score in rows:
            yield {"image_id": image_id, "category_id": label, "bbox": box, "score": score}


def _objects(truth: Annotations) -> Iterator[dict[str, Any]]:
    columns = (truth.image_ids, truth.labels, truth.boxes, truth.areas, truth.is_crowd)
    for image_id, label, box, area, is_crowd in zip(*(c.tolist() for c in columns), strict=True):
        yield {
            "image_id": image_id,
            "category_id": label,
            "bbox": box,
            "area": area,
            "iscrowd": int(is_crowd),
        }
