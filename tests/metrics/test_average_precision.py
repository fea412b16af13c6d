"""COCO's AP in the frame that the model sees."""

import pytest
import torch

from vlp_fast.metrics.average_precision import AveragePrecision
from vlp_fast.ops import make_targets
from vlp_fast.ops.boxes import xyxy_to_cxcywh
from vlp_fast.tasks.pretraining.detection import Prediction

pytest.importorskip("faster_coco_eval")


SIZES = {7: (400, 640), 9: (300, 100)}
BOXES = torch.tensor([[0.1, 0.2, 0.45, 0.8], [0.5, 0.2, 0.9, 0.8]])


def add(precision: AveragePrecision, answers: dict[int, Prediction]) -> None:
    """Two objects, of classes 0 and 1, side by side in the middle of each picture."""
    truth = (xyxy_to_cxcywh(BOXES), torch.tensor([0, 1]), torch.tensor([-1, -1]))
    targets = make_targets([truth] * len(answers))
    sizes = [SIZES[image_id] for image_id in answers]
    precision.add(tuple(answers), sizes, targets, list(answers.values()))


def answer(
    *, shift: float = 0.0, labels: tuple[int, int] = (0, 1), spare: bool = False
) -> Prediction:
    boxes = BOXES + torch.tensor([shift, 0, shift, 0])
    scores = torch.tensor([0.9, 0.8])
    if spare:  # a wrong box with the lowest score costs nothing
        boxes = torch.cat([boxes, torch.tensor([[0.0, 0, 0.05, 0.05]])])
        scores = torch.cat([scores, torch.tensor([0.1])])
    classes = torch.tensor([*labels, *([0] if spare else [])])
    return Prediction(boxes=boxes.float(), labels=classes, scores=scores, attributes=None)


def score(**changes: object) -> dict[str, float]:
    precision = AveragePrecision(("a", "b"))
    add(precision, {9: answer(**changes), 7: answer(**changes)})  # type: ignore[arg-type]
    return precision.summary()


def test_right_boxes_score_one() -> None:
    assert score() == pytest.approx({"ap": 1.0, "ap50": 1.0})
    assert score(spare=True) == pytest.approx({"ap": 1.0, "ap50": 1.0})


def test_boxes_that_are_a_little_off_score_less_at_high_overlaps() -> None:
    """Moved by .05 of the width: IoU .30/.40 = .75 and .35/.45 = .78; six thresholds of ten."""
    figures = score(shift=0.05)
    assert figures["ap50"] == pytest.approx(1.0)
    assert figures["ap"] == pytest.approx(0.55, abs=0.06)


def test_wrong_classes_score_nothing() -> None:
    assert score(labels=(1, 0)) == pytest.approx({"ap": 0.0, "ap50": 0.0})


def test_an_image_without_detections_counts_as_missed() -> None:
    precision = AveragePrecision(("a", "b"))
    empty = torch.zeros(0)
    nothing = Prediction(
        boxes=torch.zeros(0, 4), labels=empty.long(), scores=empty, attributes=None
    )
    add(precision, {7: answer(), 9: nothing})
    assert precision.summary()["ap"] == pytest.approx(0.5, abs=0.01)
    blind = AveragePrecision(("a", "b"))
    add(blind, {7: nothing})
    assert blind.summary() == {"ap": 0.0, "ap50": 0.0}


def test_a_picture_that_stands_in_for_a_broken_one_counts_once() -> None:
    precision = AveragePrecision(("a", "b"))
    add(precision, {7: answer(), 9: answer()})
    add(precision, {7: answer(labels=(1, 0))})
    assert precision.summary()["ap"] == pytest.approx(1.0)
