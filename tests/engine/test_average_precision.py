"""COCO's AP in the pixels of the annotation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vlp_fast.data.records import Record
from vlp_fast.engine.average_precision import AveragePrecision
from vlp_fast.tasks.detection import Prediction

pytest.importorskip("faster_coco_eval")


def record(image_id: int, width: int, height: int) -> Record:
    """Two objects, of classes 0 and 1, side by side in the middle of the picture."""
    shares = np.array([[0.1, 0.2, 0.45, 0.8], [0.5, 0.2, 0.9, 0.8]])
    boxes = (shares * [width, height, width, height]).astype(np.float32)
    return Record(
        image_id=image_id,
        path=Path("x.png"),
        width=width,
        height=height,
        captions=("c",),
        boxes=boxes,
        labels=np.array([0, 1]),
        attributes=np.array([-1, -1]),
    )


RECORDS = {7: record(7, 640, 400), 9: record(9, 100, 300)}


def answer(
    image_id: int, *, shift: float = 0.0, labels: tuple[int, int] = (0, 1), spare: bool = False
) -> Prediction:
    own = RECORDS[image_id]
    boxes = torch.from_numpy(own.boxes) / torch.tensor([own.width, own.height] * 2)
    boxes = boxes + torch.tensor([shift, 0, shift, 0])
    scores = torch.tensor([0.9, 0.8])
    if spare:  # a wrong box with the lowest score costs nothing
        boxes = torch.cat([boxes, torch.tensor([[0.0, 0, 0.05, 0.05]])])
        scores = torch.cat([scores, torch.tensor([0.1])])
    classes = torch.tensor([*labels, *([0] if spare else [])])
    return Prediction(boxes=boxes.float(), labels=classes, scores=scores, attributes=None)


def score(**changes: object) -> dict[str, float]:
    precision = AveragePrecision(RECORDS, ("a", "b"))
    precision.add((9, 7), [answer(9, **changes), answer(7, **changes)])  # type: ignore[arg-type]
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


def test_images_that_were_not_shown_do_not_count() -> None:
    precision = AveragePrecision(RECORDS, ("a", "b"))
    precision.add((7,), [answer(7)])
    assert precision.summary()["ap"] == pytest.approx(1.0)


def test_an_image_without_detections_counts_as_missed() -> None:
    precision = AveragePrecision(RECORDS, ("a", "b"))
    empty = torch.zeros(0)
    nothing = Prediction(
        boxes=torch.zeros(0, 4), labels=empty.long(), scores=empty, attributes=None
    )
    precision.add((7, 9), [answer(7), nothing])
    assert precision.summary()["ap"] == pytest.approx(0.5, abs=0.01)
    blind = AveragePrecision(RECORDS, ("a", "b"))
    blind.add((7,), [nothing])
    assert blind.summary() == {"ap": 0.0, "ap50": 0.0}
