"""DETR's matching cost, one pair at a time in float64, and problems to match."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor


def make_problem(counts, *, layers=2, queries=5, classes=4, attributes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    images = [
        (
            torch.rand(n, 4, generator=g) * 0.5 + 0.1,
            torch.randint(classes, (n,), generator=g),
            torch.randint(-1, attributes, (n,), generator=g),
        )
        for n in counts
    ]
    shape = (layers, len(counts), queries)
    logits = torch.randn(*shape, classes + 1, generator=g)
    boxes = torch.rand(*shape, 4, generator=g) * 0.6 + 0.1
    attribute_logits = torch.randn(*shape, attributes + 1, generator=g)
    return logits, boxes, images, attribute_logits


def giou(a, b) -> float:
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = (
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (a.tolist(), b.tolist())
    )
    inter = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
    area_a = max(0, ax2 - ax1) * max(0, ay2 - ay1)
    area_b = max(0, bx2 - bx1) * max(0, by2 - by1)
    union = area_a + area_b - inter
    hull = max(0, max(ax2, bx2) - min(ax1, bx1)) * max(0, max(ay2, by2) - min(ay1, by1))
    if union <= 1e-12 or hull <= 1e-12:  # two points or lines, see ops.boxes
        return (inter / union if union > 1e-12 else 0) - (hull - union) / (
            hull if hull > 1e-12 else 1
        )
    return inter / union - (hull - union) / hull


def class_term(logits: Tensor, label: int, kind: str, alpha: float, gamma: float) -> float:
    if kind == "softmax":
        return -logits.double().softmax(-1)[label].item()
    p = 1 / (1 + math.exp(-logits[label].item()))
    if kind == "sigmoid":
        return -p
    positive = alpha * (1 - p) ** gamma * -math.log(p + 1e-8)
    return positive - (1 - alpha) * p**gamma * -math.log(1 - p + 1e-8)


def loop_cost(
    logits, boxes, image, attribute_logits, weights=(1, 5, 2, 1), kind="softmax", focal=(0.25, 2.0)
) -> np.ndarray:
    """DETR's cost of one image and layer, one pair at a time: (Q, T_i)."""
    cost = np.zeros((len(logits), len(image[1])))
    for q in range(len(logits)):
        for t in range(len(image[1])):
            value = weights[0] * class_term(logits[q], image[1][t], kind, *focal)
            value += weights[1] * (boxes[q].double() - image[0][t].double()).abs().sum().item()
            value -= weights[2] * giou(boxes[q].double(), image[0][t].double())
            if attribute_logits is not None and image[2][t] >= 0:
                probability = attribute_logits[q].double().softmax(-1)[image[2][t]].item()
                value -= weights[3] * probability
            cost[q, t] = value
    return cost


def assert_matched(found, problem, options=None, *, exact: bool = True) -> None:
    """Every image of every layer has an assignment of lowest cost; SciPy's own if `exact`."""
    logits, boxes, images, attribute_logits = problem
    options = options or {}
    matches, non_finite = found
    counts = [len(image[1]) for image in images]
    assert matches.shape == (len(logits), sum(counts))
    assert (matches.dtype, non_finite.dtype) == (torch.int64, torch.bool)
    assert non_finite.shape == boxes.shape[:2]
    assert not non_finite.any()
    for layer in range(len(logits)):
        for number, answer in enumerate(matches[layer].split(counts)):
            attributes = None if attribute_logits is None else attribute_logits[layer, number]
            cost = loop_cost(
                logits[layer, number], boxes[layer, number], images[number], attributes, **options
            )
            queries, targets = scipy_assignment(cost)
            taken = answer >= 0
            assert sorted(answer[taken].tolist()) == sorted(set(answer[taken].tolist()))
            assert taken.sum() == len(queries)
            total = cost[answer[taken], taken.nonzero()[:, 0]].sum()
            assert total == pytest.approx(cost[queries, targets].sum(), abs=1e-4)
            if exact:
                expected = torch.full((counts[number],), -1)
                expected[targets] = torch.from_numpy(queries)
                assert torch.equal(answer, expected)
