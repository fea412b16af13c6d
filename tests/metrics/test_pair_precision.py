"""AP over pairs of class and attribute, by hand."""

import numpy as np
import pytest
from drawn_boxes import drawn, found, objects

from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes
from vlp_fast.metrics.pair_precision import pair_curves
from vlp_fast.metrics.precision_curves import PrecisionCurves

DOG, CAT = (10.0, 10.0, 50.0, 50.0), (200.0, 200.0, 50.0, 50.0)
BROWN, WHITE = 0, 1


def ap(
    truth: TrueBoxes, attributes: list[int], boxes: FoundBoxes, named: list[int]
) -> float | None:
    return pair_curves(
        truth,
        np.array(attributes),
        boxes,
        np.array(named),
        num_pictures=2,
        num_attributes=2,
    ).average_precision()


def test_both_names_have_to_be_right() -> None:
    truth = objects(DOG)
    assert ap(truth, [BROWN], found(DOG, scores=(0.5,)), [BROWN]) == pytest.approx(1.0)
    assert ap(truth, [BROWN], found(DOG, scores=(0.5,)), [WHITE]) == 0.0
    assert ap(truth, [BROWN], found(DOG, scores=(0.5,), label=1), [BROWN]) == 0.0


def test_a_wrong_attribute_is_a_mistake_where_the_pair_is_asked_for() -> None:
    """A white dog called brown costs the brown ones, which have a right box of a lower score."""
    truth = objects(DOG, CAT)
    boxes = found(DOG, CAT, scores=(0.5, 0.9))
    assert ap(truth, [BROWN, WHITE], boxes, [BROWN, BROWN]) == pytest.approx((0.5 + 0) / 2)


def test_an_object_without_an_attribute_says_nothing_against_any() -> None:
    truth, boxes = objects(DOG, CAT), found(DOG, CAT, scores=(0.5, 0.9))
    for named in ([BROWN, BROWN], [BROWN, WHITE]):
        assert ap(truth, [BROWN, -1], boxes, named) == pytest.approx(1.0)
    crowd = objects(DOG, CAT, crowd=(False, True))
    assert ap(crowd, [BROWN, BROWN], boxes, [BROWN, BROWN]) == pytest.approx(1.0)


def test_an_object_elsewhere_or_of_another_class_hides_no_mistake() -> None:
    truth = objects(DOG)
    boxes = found(DOG, CAT, scores=(0.5, 0.9))
    assert ap(truth, [BROWN], boxes, [BROWN, BROWN]) == pytest.approx(0.5)
    two = objects(DOG, CAT)
    other = TrueBoxes(**vars(two) | {"labels": np.array([0, 1])})
    assert ap(other, [BROWN, -1], boxes, [BROWN, BROWN]) == pytest.approx(0.5)
    away = TrueBoxes(**vars(two) | {"pictures": np.array([0, 1])})
    assert ap(away, [BROWN, -1], boxes, [BROWN, BROWN]) == pytest.approx(0.5)


def test_there_is_no_figure_where_nothing_is_annotated() -> None:
    assert ap(objects(DOG), [-1], found(DOG, scores=(0.5,)), [BROWN]) is None


@pytest.mark.parametrize("seed", range(3))
def test_with_one_attribute_it_is_ap_of_classes(seed: int) -> None:
    truth, boxes = drawn(seed)
    known = np.where(truth.is_crowd, -1, 0)
    curves = pair_curves(
        truth, known, boxes, np.zeros_like(boxes.labels), num_pictures=30, num_attributes=1
    )
    plain = PrecisionCurves(truth, boxes, num_pictures=30).average_precision()
    assert curves.average_precision() == pytest.approx(plain, abs=1e-12)
