"""What a model finds in pictures, in pixels of the frame that they are annotated in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlp_fast.data.annotations import Annotations
from vlp_fast.data.submissions.coco_detection import ScoredBox
from vlp_fast.data.upright import annotated_boxes
from vlp_fast.errors import InputError
from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes
from vlp_fast.models.e2e_vlp import Detections
from vlp_fast.ops.boxes import cxcywh_to_xyxy
from vlp_fast.tasks.detection.batch import DetectionInputs, Frame
from vlp_fast.tasks.detection.set_prediction import Prediction, read_out


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What is found in a picture, n boxes, the surest first.

    Attributes:
        boxes: (n, 4) float64, (x, y, width, height) in pixels of the annotated frame.
        labels: (n,) int64.
        scores: (n,) float32.
        attributes: (n,) int64, or None.
        attribute_scores: (n,) float32, among all attributes, or None.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    attributes: np.ndarray | None = None
    attribute_scores: np.ndarray | None = None


Answers = Mapping[int | str, Answer]
"""By image id; of a picture that is broken there is none."""


def answers_of(found: Detections, inputs: DetectionInputs) -> list[Answers]:
    """What the last layer finds, column by column, by DETR's read-out: no box is left out or cut.

    Pictures that stand in for broken ones are left out.

    Raises:
        InputError: for boxes or scores that are NaN.
    """
    kinds = found.attribute_logits
    corners = cxcywh_to_xyxy(found.boxes[-1].float())
    every = read_out(found.logits[-1], corners, None if kinds is None else kinds[-1])
    count = len(inputs.image_ids)
    return [
        {
            image_id: _placed(prediction, frame)
            for image_id, frame, prediction in zip(
                inputs.image_ids, inputs.frames, every[start : start + count], strict=True
            )
            if frame.is_asked
        }
        for start in range(0, len(every), count)
    ]


def _placed(prediction: Prediction, frame: Frame) -> Answer:
    if (prediction.boxes.isnan().any() | prediction.scores.isnan().any()).item():
        raise InputError(
            "boxes or their scores are NaN, which match nothing; look at the losses of the run, "
            "and give --train.precision fp32 if it was trained in another"
        )
    fractions = annotated_boxes(prediction.boxes.double().numpy(), frame.turn)
    corners = fractions * np.array([frame.width, frame.height] * 2)
    kinds, shares = prediction.attributes, prediction.attribute_scores
    return Answer(
        boxes=np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1),
        labels=prediction.labels.numpy(),
        scores=prediction.scores.numpy(),
        attributes=None if kinds is None else kinds.numpy(),
        attribute_scores=None if shares is None else shares.numpy(),
    )


def scored_boxes(
    answers: Mapping[int | str, Answer], categories: Sequence[int]
) -> Iterator[ScoredBox]:
    """All boxes, image after image, with the classes' numbers in the files."""
    for image_id, answer in answers.items():
        rows = (answer.boxes.tolist(), answer.labels.tolist(), answer.scores.tolist())
        for box, label, score in zip(*rows, strict=True):
            yield ScoredBox(int(image_id), categories[label], tuple(box), score)


def true_boxes(truth: Annotations, images: Sequence[int]) -> TrueBoxes:
    """The objects of some images, which are numbered as they are given, ascending."""
    return TrueBoxes(
        pictures=np.searchsorted(np.asarray(images), truth.image_ids),
        labels=truth.labels,
        boxes=truth.boxes,
        areas=truth.areas,
        is_crowd=truth.is_crowd,
    )


def found_boxes(answers: Sequence[Answer | None]) -> FoundBoxes:
    """The boxes of pictures by their number; None where there is no answer."""
    known = [(number, answer) for number, answer in enumerate(answers) if answer is not None]
    pictures = [np.full(len(answer.labels), number) for number, answer in known]
    return FoundBoxes(
        pictures=np.concatenate([np.zeros(0, dtype=np.int64), *pictures]),
        labels=np.concatenate([np.zeros(0, dtype=np.int64), *(a.labels for _, a in known)]),
        boxes=np.concatenate([np.zeros((0, 4)), *(a.boxes for _, a in known)]),
        scores=np.concatenate([np.zeros(0, dtype=np.float32), *(a.scores for _, a in known)]),
    )
