"""AP of pictures that are weighed anew, and matching, against COCO's and against loops."""

import numpy as np
import pytest
from drawn_boxes import CLASSES, PICTURES, drawn, found, no_boxes, objects, random_boxes

from vlp_fast.metrics import precision_curves
from vlp_fast.metrics.box_matching import THRESHOLDS, match_boxes, overlaps
from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes
from vlp_fast.metrics.coco_protocol import coco_numbers
from vlp_fast.metrics.precision_curves import PrecisionCurves

BOX, ELSEWHERE = (10.0, 10.0, 50.0, 50.0), (200.0, 200.0, 50.0, 50.0)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_coco_s_ap(seed: int) -> None:
    pytest.importorskip("faster_coco_eval")
    truth, boxes = drawn(seed)
    expected = coco_numbers(truth, boxes, num_pictures=PICTURES, num_classes=CLASSES)["ap"]
    curves = PrecisionCurves(truth, boxes, num_pictures=PICTURES)
    assert len(curves) == CLASSES - 1
    assert curves.average_precision() == pytest.approx(expected, abs=1e-12)


def repeated(
    truth: TrueBoxes, boxes: FoundBoxes, times: np.ndarray
) -> tuple[TrueBoxes, FoundBoxes]:
    """The pictures, each so often."""
    order = np.repeat(np.arange(PICTURES), times)
    rows = [np.flatnonzero(truth.pictures == picture) for picture in order]
    found = [np.flatnonzero(boxes.pictures == picture) for picture in order]
    there, guesses = np.concatenate(rows), np.concatenate(found)
    return TrueBoxes(
        pictures=np.repeat(np.arange(len(order)), [len(row) for row in rows]),
        labels=truth.labels[there],
        boxes=truth.boxes[there],
        areas=truth.areas[there],
        is_crowd=truth.is_crowd[there],
    ), FoundBoxes(
        pictures=np.repeat(np.arange(len(order)), [len(row) for row in found]),
        labels=boxes.labels[guesses],
        boxes=boxes.boxes[guesses],
        scores=boxes.scores[guesses],
    )


def test_a_weight_is_how_often_a_picture_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faster_coco_eval")
    truth, boxes = drawn(1, ties=False)
    draw = np.random.default_rng(0)
    weights = draw.multinomial(PICTURES, [1 / PICTURES] * PICTURES, size=3)
    curves = PrecisionCurves(truth, boxes, num_pictures=PICTURES)
    values = curves.average_precisions(weights.astype(float))
    for times, value in zip(weights, values, strict=True):
        again = repeated(truth, boxes, times)
        expected = coco_numbers(*again, num_pictures=PICTURES, num_classes=CLASSES)["ap"]
        assert value == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr(precision_curves, "BLOCK", 1)  # one by one
    assert np.array_equal(curves.average_precisions(weights.astype(float)), values)


def test_pictures_without_an_object_say_nothing() -> None:
    truth = objects(BOX, picture=1)
    curves = PrecisionCurves(truth, found(BOX, scores=(0.5,), picture=1), num_pictures=2)
    values = curves.average_precisions(np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert values[0] == pytest.approx(1.0)
    assert np.isnan(values[1])
    assert PrecisionCurves(objects(), no_boxes(), num_pictures=2).average_precision() is None
    assert PrecisionCurves(truth, no_boxes(), num_pictures=2).average_precision() == 0.0


def test_what_is_ignored_is_neither_right_nor_wrong() -> None:
    """A box on an object that is ignored costs nothing, whatever its score; a second one does."""
    truth = objects(BOX, ELSEWHERE)
    ignored = np.array([False, True])
    once = found(BOX, ELSEWHERE, scores=(0.5, 0.9))
    curves = PrecisionCurves(truth, once, num_pictures=1, is_ignored=ignored)
    assert curves.average_precision() == pytest.approx(1.0)
    twice = found(BOX, ELSEWHERE, ELSEWHERE, scores=(0.5, 0.9, 0.8))
    curves = PrecisionCurves(truth, twice, num_pictures=1, is_ignored=ignored)
    assert curves.average_precision() == pytest.approx(0.5)


def test_the_best_hundred_boxes_of_a_class_in_a_picture_count() -> None:
    others = [ELSEWHERE] * 100
    late = found(*others, BOX, scores=(*[0.9] * 100, 0.1))
    assert PrecisionCurves(objects(BOX), late, num_pictures=1).average_precision() == 0.0
    soon = found(*others[:99], BOX, scores=(*[0.9] * 99, 0.1))
    value = PrecisionCurves(objects(BOX), soon, num_pictures=1).average_precision()
    assert value == pytest.approx(1 / 100)


def by_loops(
    ious: np.ndarray, ignored: np.ndarray, crowd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rule as it is told: objects that count first, then the others, each box in turn."""
    order = np.argsort(ignored, kind="stable")
    matched = np.zeros((len(THRESHOLDS), len(ious)), dtype=bool)
    with_ignored = matched.copy()
    for level, threshold in enumerate(THRESHOLDS):
        taken = set()
        for box in range(len(ious)):
            best, chosen = threshold, None
            for thing in order:
                if thing in taken and not crowd[thing]:
                    continue
                if chosen is not None and not ignored[chosen] and ignored[thing]:
                    break
                if ious[box, thing] >= best:
                    best, chosen = ious[box, thing], thing
            if chosen is not None:
                taken.add(chosen)
                matched[level, box], with_ignored[level, box] = True, ignored[chosen]
    return matched, with_ignored


@pytest.mark.parametrize("seed", range(20))
def test_matching_against_loops(seed: int) -> None:
    """Overlaps in steps of .05, so that ties and thresholds that are just reached come up."""
    draw = np.random.default_rng(seed)
    boxes, things = draw.integers(0, 9, 2)
    ious = draw.integers(8, 21, (boxes, things)) / 20
    ious[draw.random((boxes, things)) < 0.3] = 0
    crowd = draw.random(things) < 0.3
    ignored = crowd | (draw.random(things) < 0.3)
    for ours, theirs in zip(
        match_boxes(ious, ignored, crowd), by_loops(ious, ignored, crowd), strict=True
    ):
        assert np.array_equal(ours, theirs)


def test_overlaps_against_the_library_s() -> None:
    mask = pytest.importorskip("faster_coco_eval.core.mask")
    draw = np.random.default_rng(0)
    a, b = random_boxes(draw, 20), random_boxes(draw, 15)
    b[3, 2] = 0  # of no extent
    crowd = draw.random(15) < 0.5
    expected = mask.iou(a.tolist(), b.tolist(), crowd.astype(int).tolist())
    np.testing.assert_allclose(overlaps(a, b, crowd), expected, rtol=0, atol=1e-12)
    assert overlaps(a, b, crowd)[:, 3].max() == 0
