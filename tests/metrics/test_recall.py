"""Recall at K against sorting by brute force; ties, folds, pictures without texts, NaN."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp_fast.errors import InputError
from vlp_fast.metrics.recall import KS, recall


def by_sorting(scores: np.ndarray, owners: list[int], *, wins_ties: bool) -> dict[str, float]:
    """Every query's candidates sorted, the truth behind its equals or in front of them.

    A truth of -inf is out of the race, and never in front.
    """

    def key(image: int, text: int, *, is_own: bool) -> tuple[float, bool]:
        score = float(scores[image, text])
        is_first = is_own and wins_ties and score > -math.inf
        return -score, not is_first if wins_ties and score > -math.inf else is_own

    found: dict[str, list[bool]] = {f"{way}_r{k}": [] for way in ("ir", "tr") for k in KS}
    for text, owner in enumerate(owners):
        order = sorted(range(len(scores)), key=lambda i: key(i, text, is_own=i == owner))
        for k in KS:
            found[f"ir_r{k}"].append(owner in order[:k])
    for image in set(owners):
        order = sorted(range(len(owners)), key=lambda t: key(image, t, is_own=owners[t] == image))
        for k in KS:
            found[f"tr_r{k}"].append(any(owners[text] == image for text in order[:k]))
    return {name: 100 * sum(hits) / len(hits) for name, hits in found.items()}


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, list[int]]:
    """Few levels, so that many scores are equal; pictures with no text, one and several."""
    images, texts = draw(st.integers(1, 14)), draw(st.integers(1, 25))
    owners = draw(st.lists(st.integers(0, images - 1), min_size=texts, max_size=texts))
    levels = st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0])
    values = draw(st.lists(levels, min_size=images * texts, max_size=images * texts))
    return np.array(values, np.float32).reshape(images, texts), owners


@settings(max_examples=40)
@given(matrices())
def test_as_by_sorting(case: tuple[np.ndarray, list[int]]) -> None:
    scores, owners = case
    found = recall(scores, owners)
    figures = found.figures()
    expected = by_sorting(scores, owners, wins_ties=False)
    assert {name: figures[name] for name in expected} == expected
    assert figures["recall_mean"] == pytest.approx(sum(expected.values()) / 6)
    lucky = by_sorting(scores, owners, wins_ties=True)
    assert found.first_if_ties_win()["ir_r1"] == lucky["ir_r1"]
    assert found.first_if_ties_win()["tr_r1"] == lucky["tr_r1"]


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_a_perfect_matrix_is_exactly_a_hundred(count: int) -> None:
    owners = [i for i in range(count) for _ in range(5)]
    scores = np.zeros((count, 5 * count), np.float32)
    scores[owners, range(5 * count)] = 1
    figures = recall(scores, owners).figures()
    assert set(figures.values()) == {100.0}
    assert len(figures) == 7


def test_equals_count_against_the_truth_and_are_told() -> None:
    """Nothing is found by who says the same of all; half of it is by who orders by chance."""
    owners = [0, 0, 1, 2]
    found = recall(np.zeros((3, 4), np.float32), owners)
    assert found.figures()["ir_r1"] == found.figures()["tr_r1"] == 0
    assert found.figures()["ir_r5"] == 100  # of three pictures
    assert found.ties() == {"ir": 4, "tr": 3}
    assert found.first_if_ties_win() == {"ir_r1": 100, "tr_r1": 100}


def test_own_texts_are_no_rivals_of_one_another() -> None:
    scores = np.array([[3, 3, 1, 0], [0, 0, 2, 5]], np.float32)
    found = recall(scores, [0, 0, 0, 1])
    assert found.figures()["tr_r1"] == 100
    assert found.ties() == {"ir": 0, "tr": 0}
    assert found.figures()["ir_r1"] == 75  # the third text is nearer to the other picture


def test_any_own_text_is_enough() -> None:
    """Four of five captions may be hopeless."""
    scores = np.array([[9, -9, -9, -9, -9, 0], [0, 1, 1, 1, 1, 2]], np.float32)
    figures = recall(scores, [0, 0, 0, 0, 0, 1]).figures()
    assert figures["tr_r1"] == 100
    assert figures["ir_r1"] == pytest.approx(100 / 3)


def test_folds_are_means_of_neighbours_that_do_not_meet() -> None:
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(12), 3)
    scores = rng.standard_normal((12, 36)).astype(np.float32)
    scores[owners, range(36)] += 1
    folds = recall(scores, owners.tolist(), fold=4).figures()
    alone = [
        recall(scores[i : i + 4, 3 * i : 3 * i + 12], (owners[3 * i : 3 * i + 12] - i).tolist())
        for i in (0, 4, 8)
    ]
    for name, value in folds.items():
        assert value == pytest.approx(sum(one.figures()[name] for one in alone) / 3)
    scores[0, 12:] = np.nan  # of other folds: never looked at
    assert recall(scores, owners.tolist(), fold=4).figures() == folds
    with pytest.raises(InputError, match="12 pictures are no whole folds of 5"):
        recall(scores, owners.tolist(), fold=5)


def test_nan_is_refused_and_minus_infinity_is_last() -> None:
    scores = np.eye(3, dtype=np.float32)
    scores[1, 1] = -np.inf
    assert recall(scores, [0, 1, 2]).figures()["ir_r1"] == pytest.approx(200 / 3)
    scores[1, 2] = np.nan
    with pytest.raises(InputError, match="picture 1 hold NaN"):
        recall(scores, [0, 1, 2])


@pytest.mark.parametrize(
    ("shape", "owners"), [((2, 3), [0, 1]), ((2, 2), [0, 2]), ((2, 2), [0, -1]), ((4,), [0])]
)
def test_a_matrix_of_other_texts_is_refused(shape: tuple[int, ...], owners: list[int]) -> None:
    with pytest.raises(ValueError, match="a column for each text"):
        recall(np.zeros(shape, np.float32), owners)


def test_pictures_without_texts_are_candidates_and_no_queries() -> None:
    scores = np.array([[1, 0], [2, 0], [0, 1]], np.float32)
    figures = recall(scores, [0, 2]).figures()
    assert figures["ir_r1"] == 50  # the picture without a text is better for the first
    assert figures["tr_r1"] == 100
    nothing = recall(np.zeros((2, 0), np.float32), []).figures()
    assert all(math.isnan(value) for value in nothing.values())
