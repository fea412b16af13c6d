"""COCO's AP in the frame that the model sees."""

import sys

import numpy as np
import pytest

from vlp_fast.metrics.average_precision import AveragePrecision, is_available

pytest.importorskip("faster_coco_eval")

Answer = tuple[np.ndarray, np.ndarray, np.ndarray]
SIZES = {7: (400, 640), 9: (300, 100)}
BOXES = np.array([[0.1, 0.2, 0.45, 0.8], [0.5, 0.2, 0.9, 0.8]], dtype=np.float32)


def add(precision: AveragePrecision, answers: dict[int, Answer]) -> None:
    """Two objects, of classes 0 and 1, side by side in the middle of each picture."""
    truth = [(BOXES, np.array([0, 1]))] * len(answers)
    sizes = [SIZES[image_id] for image_id in answers]
    precision.add(tuple(answers), sizes, truth, list(answers.values()))


def answer(*, shift: float = 0.0, labels: tuple[int, int] = (0, 1), spare: bool = False) -> Answer:
    boxes = BOXES + np.array([shift, 0, shift, 0], dtype=np.float32)
    scores = np.array([0.9, 0.8])
    if spare:  # a wrong box with the lowest score costs nothing
        boxes = np.concatenate([boxes, np.array([[0.0, 0, 0.05, 0.05]], dtype=np.float32)])
        scores = np.append(scores, 0.1)
    return boxes, np.array([*labels, *([0] if spare else [])]), scores


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
    nothing = (np.zeros((0, 4)), np.zeros(0, dtype=np.int64), np.zeros(0))
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


def test_there_are_no_figures_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    precision = AveragePrecision(("a", "b"))
    add(precision, {7: answer()})
    assert is_available()
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert precision.summary() == {}
    monkeypatch.setattr("vlp_fast.metrics.coco_protocol.find_spec", lambda name: None)
    assert not is_available()
