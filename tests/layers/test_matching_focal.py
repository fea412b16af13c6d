"""`HungarianMatcher(class_cost="focal")` against Deformable DETR's matcher, and by hand in float64.

The later DETRs score each class on its own: no class is "no object", and the cost of a class is the
focal loss of predicting it minus that of not predicting it.
"""

from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher

from vlp_fast import HungarianMatcher

QUERIES, CLASSES = 9, 6
COSTS = (2, 5, 2)
COUNTS = {
    "random": [3, 1, 6, 2],
    "some images empty": [0, 4, 0],
    "all images empty": [0, 0],
    "as many targets as queries": [QUERIES],
    "more targets than queries": [QUERIES + 4, 2],
}


def make_boxes(*shape: int, draw: torch.Generator) -> Tensor:
    centre, size = torch.rand(*shape, 2, generator=draw), torch.rand(*shape, 2, generator=draw)
    return torch.cat([0.2 + 0.6 * centre, 0.05 + 0.35 * size], -1)


def make_problem(counts: list[int], *, seed: int = 0, scale: float = 2.0) -> tuple[Any, Any]:
    """Outputs and annotations under transformers' names; labels of one image differ if they can."""
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(len(counts), QUERIES, CLASSES, generator=draw)
    outputs = {"logits": logits, "pred_boxes": make_boxes(len(counts), QUERIES, draw=draw)}
    targets = [
        {
            "class_labels": torch.randperm(max(n, CLASSES), generator=draw)[:n] % CLASSES,
            "boxes": make_boxes(n, draw=draw),
        }
        for n in counts
    ]
    return outputs, targets


def focal_costs(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """(Q, n) in float64, one pair at a time."""
    costs = torch.zeros(len(logits), len(labels), dtype=torch.float64)
    for query, row in enumerate(logits.double()):
        for number, label in enumerate(labels):
            p = 1 / (1 + torch.exp(-row[label]))
            yes = -alpha * (1 - p) ** gamma * torch.log(p + 1e-8)
            no = -(1 - alpha) * p**gamma * torch.log(1 - p + 1e-8)
            costs[query, number] = yes - no
    return costs


def as_lists(pairs: Any) -> list[list[list[int]]]:
    return [[one.tolist() for one in pair] for pair in pairs]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_indices_are_deformable_detrs(counts: list[int], seed: int) -> None:
    outputs, targets = make_problem(counts, seed=seed)
    matcher = HungarianMatcher(*COSTS, class_cost="focal", focal_alpha=0.25, focal_gamma=2.0)
    expected = DeformableDetrHungarianMatcher(*COSTS)(outputs, targets)
    assert as_lists(matcher(outputs, targets)) == as_lists(expected)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.0), (0.25, 0.0), (0.9, 3.5)])
def test_alpha_and_gamma(alpha: float, gamma: float) -> None:
    outputs, targets = make_problem([4, 6, 1], seed=3)
    matcher = HungarianMatcher(1, 0, 0, class_cost="focal", focal_alpha=alpha, focal_gamma=gamma)
    found = matcher(outputs, targets)
    for logits, target, pairs in zip(outputs["logits"], targets, found, strict=True):
        costs = focal_costs(logits, target["class_labels"], alpha, gamma)
        expected = linear_sum_assignment(costs.numpy())
        assert costs[pairs].sum().item() == pytest.approx(costs[expected].sum().item(), abs=1e-5)


def test_alpha_and_gamma_are_two_and_a_quarter_by_default() -> None:
    outputs, targets = make_problem([5, 6], seed=9)
    chosen = HungarianMatcher(*COSTS, class_cost="focal", focal_alpha=0.25, focal_gamma=2.0)
    default = HungarianMatcher(*COSTS, class_cost="focal")
    assert as_lists(default(outputs, targets)) == as_lists(chosen(outputs, targets))
    other = HungarianMatcher(20, 0, 1, class_cost="focal", focal_alpha=0.9, focal_gamma=0.0)
    assert as_lists(other(outputs, targets)) != as_lists(chosen(outputs, targets))


def test_the_last_class_is_a_class() -> None:
    outputs, targets = make_problem([1], scale=0.1)
    targets[0]["class_labels"][0] = CLASSES - 1
    outputs["logits"][0, 4, CLASSES - 1] = 8.0
    found = HungarianMatcher(1, 0, 0, class_cost="focal")(outputs, targets)
    assert as_lists(found) == [[[4], [0]]]


def test_sure_predictions() -> None:
    """Where the sigmoid is 0 or 1 in float32 the cost stays finite, and as in Deformable DETR."""
    outputs, targets = make_problem([4, 5], seed=2, scale=60.0)
    found = HungarianMatcher(*COSTS, class_cost="focal")(outputs, targets)
    expected = DeformableDetrHungarianMatcher(*COSTS)(outputs, targets)
    assert as_lists(found) == as_lists(expected)


def test_it_is_another_matching_than_that_of_the_softmax() -> None:
    outputs, targets = make_problem([5, 6, 4], seed=1)
    focal = HungarianMatcher(1, 0, 0, class_cost="focal")(outputs, targets)
    assert as_lists(focal) != as_lists(HungarianMatcher(1, 0, 0)(outputs, targets))


def test_an_unknown_class_cost_is_refused() -> None:
    with pytest.raises(ValueError, match=r"class_cost.*focal"):
        HungarianMatcher(class_cost="hinge")
