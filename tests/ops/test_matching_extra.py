"""Matching with a cost of the caller's own, against SciPy on DETR's cost plus it."""

import math

import numpy as np
import pytest
import torch
from detr_cost import loop_cost, make_problem
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor

from vlp_fast import HungarianMatcher, ops

COUNTS = [(3, 0, 5, 1), (0, 0), (1,), (7, 2), ()]


def extra_of(counts: tuple[int, ...], layers: int = 2, queries: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return 4 * torch.randn(layers, sum(counts), queries, generator=generator)


@pytest.mark.parametrize("backend", ["reference", "cpp"])
@pytest.mark.parametrize("counts", COUNTS)
def test_is_scipy_on_the_sum(counts: tuple[int, ...], backend: str) -> None:
    logits, boxes, images, attribute_logits = make_problem(counts, seed=len(counts))
    extra, targets = extra_of(counts), ops.make_targets(images)
    with ops.use(backend):
        matches, non_finite = ops.match(
            logits, boxes, targets, attribute_logits=attribute_logits, extra_cost=extra
        )
        plain, _ = ops.match(logits, boxes, targets, attribute_logits=attribute_logits)
    assert (matches.shape, matches.dtype) == ((2, sum(counts)), torch.int64)
    assert (non_finite.shape, non_finite.any().item()) == ((2, len(counts)), False)
    if sum(counts) > 1:
        assert not torch.equal(matches, plain)
    for layer in range(2):
        parts = zip(matches[layer].split(counts), extra[layer].split(counts), strict=True)
        for number, (answer, added) in enumerate(parts):
            cost = loop_cost(
                logits[layer, number],
                boxes[layer, number],
                images[number],
                attribute_logits[layer, number],
            )
            queries, taken = scipy_assignment(cost + added.double().numpy().T)
            expected = np.full(counts[number], -1)
            expected[taken] = queries
            assert answer.tolist() == expected.tolist()


def test_nothing_added_changes_nothing() -> None:
    logits, boxes, images, _ = make_problem((3, 1, 4))
    targets = ops.make_targets(images)
    for kind in ("softmax", "sigmoid", "focal"):
        plain, zero = (
            ops.match(logits, boxes, targets, class_cost=kind, extra_cost=extra)
            for extra in (None, torch.zeros(2, 8, 5, dtype=torch.float16))
        )
        assert torch.equal(plain[0], zero[0])
        assert torch.equal(plain[1], zero[1])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_matched_last_and_told(bad: float) -> None:
    logits, boxes, images, _ = make_problem((2, 3), layers=1)
    extra = torch.zeros(1, 5, 5)
    extra[0, 0, :] = bad
    extra[0, 0, 3] = 1e6
    matches, non_finite = ops.match(logits, boxes, ops.make_targets(images), extra_cost=extra)
    assert matches[0, 0] == 3
    assert non_finite.tolist() == [[True, False]]
    extra[0, 0] = bad
    matches, _ = ops.match(logits, boxes, ops.make_targets(images), extra_cost=extra)
    assert len({*matches[0, :2].tolist()}) == 2  # a query all the same


def test_a_matcher_takes_it_and_names_another_shape() -> None:
    logits, boxes, images, _ = make_problem((2, 0, 3), layers=1)
    outputs = {"pred_logits": logits[0], "pred_boxes": boxes[0]}
    annotations = [{"boxes": b, "labels": n} for b, n, _ in images]
    extra = extra_of((2, 0, 3), layers=1)[0]
    matcher = HungarianMatcher(1, 5, 2)
    matches, _ = ops.match(logits, boxes, ops.make_targets(images), extra_cost=extra[None])
    found = matcher(outputs, annotations, extra_cost=extra)
    for (queries, numbers), expected in zip(found, matches[0].split((2, 0, 3)), strict=True):
        assert queries.tolist() == sorted(expected.tolist())
        assert expected[numbers].tolist() == queries.tolist()
    with pytest.raises(ValueError, match=r"extra_cost \(1, 5, 4\), expected \(1, 5, 5\): layers"):
        matcher(outputs, annotations, extra_cost=extra[:, :4])
