"""Matching of inputs in other dtypes and layouts, and of costs beyond the clip."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from types import ModuleType

import numpy as np
import pytest
import torch
from detr_cost import make_problem
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor

from vlp_fast import native, ops
from vlp_fast.ops import matching

Match = Callable[..., tuple[Tensor, Tensor]]
on_gpu_source = pytest.mark.xdist_group("cuda_on_cpu")


@pytest.fixture(params=["reference", "cpp"])
def match(request: pytest.FixtureRequest) -> Match:
    """`ops.match` on each backend of the CPU."""
    return match_on(request.param)


@pytest.fixture
def match_of_the_gpu(cuda_on_cpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Match:
    """`ops.match` through the backend `cuda`, its kernels run on the CPU."""
    monkeypatch.setattr(native, "required", lambda: cuda_on_cpu)
    monkeypatch.setitem(matching._match.backends, "cuda", matching._on_device)
    return match_on("cuda")


def match_on(backend: str) -> Match:
    def run(*args: object, **options: object) -> tuple[Tensor, Tensor]:
        with ops.use(backend):
            return ops.match(*args, **options)

    return run


@pytest.mark.parametrize("nearest", [0, 1, 2])
def test_float64_boxes_are_compared_in_float64(nearest: int, match: Match) -> None:
    check_precision(match, nearest)


@on_gpu_source
def test_float64_boxes_in_the_gpus_source(match_of_the_gpu: Match) -> None:
    for nearest in range(3):
        check_precision(match_of_the_gpu, nearest)


def check_precision(run: Match, nearest: int) -> None:
    """Beside float32 logits; in float32 all three boxes would be the same."""
    boxes = torch.full((1, 1, 3, 4), 0.5, dtype=torch.float64)
    boxes += 2e-9
    boxes[0, 0, nearest] -= 1e-9
    target = ops.make_targets([(torch.full((1, 4), 0.5), torch.tensor([0]), torch.tensor([-1]))])
    found, _ = run(torch.zeros(1, 1, 3, 2), boxes, target, cost_class=0, cost_giou=0)
    assert found.tolist() == [[nearest]]


def test_annotations_of_any_layout_and_precision(match: Match) -> None:
    check_layout(match)


@on_gpu_source
def test_annotations_of_any_layout_in_the_gpus_source(match_of_the_gpu: Match) -> None:
    check_layout(match_of_the_gpu)


def check_layout(run: Match) -> None:
    logits, boxes, images, attribute_logits = make_problem((4, 0, 3), seed=5)
    targets = ops.make_targets(images)
    spread = lambda x: torch.stack([x, torch.full_like(x, -1)], 1).flatten()[::2]
    odd = replace(
        targets,
        boxes=targets.boxes.double().t().contiguous().t(),
        labels=spread(targets.labels),
        attributes=spread(targets.attributes),
    )
    assert not (odd.boxes.is_contiguous() or odd.labels.is_contiguous())
    expected = run(logits, boxes, targets, attribute_logits=attribute_logits)
    found = run(logits, boxes, odd, attribute_logits=attribute_logits)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


# In units of the clip. The answer to the first is another one without the clip, and with a clip of
# 1.2; with a clip of 0.9, all pairs of the second cost the same.
BEYOND = [[[1.01, 1.3], [0.95, 1.01]], [[0.95, 0.99], [0.9, 0.92]]]
VARIANTS = list(product(BEYOND, (1, -1), ([0, 1], [1, 0])))


@pytest.mark.parametrize(("matrix", "sign", "queries"), VARIANTS)
def test_finite_costs_are_clipped_at_a_billion(matrix, sign, queries, match: Match) -> None:
    check_clip(match, np.array(matrix)[:, queries], sign)


@on_gpu_source
def test_finite_costs_are_clipped_in_the_gpus_source(match_of_the_gpu: Match) -> None:
    for matrix, sign, queries in VARIANTS:
        check_clip(match_of_the_gpu, np.array(matrix)[:, queries], sign)


def check_clip(run: Match, costs: np.ndarray, sign: int) -> None:
    """The cost of a target at a query is 2e9 times the chance of its class there."""
    logits = torch.logit(torch.tensor(costs.T / 2))[None, None]
    labels, none = torch.tensor([0, 1]), torch.tensor([-1, -1])
    targets = ops.make_targets([(torch.full((2, 4), 0.5), labels, none)])
    boxes = torch.full((1, 1, 2, 4), 0.5)
    weights = {"cost_class": -2e9 * sign, "cost_bbox": 0, "cost_giou": 0}
    found, non_finite = run(logits, boxes, targets, class_cost="sigmoid", **weights)
    expected = scipy_assignment(np.clip(sign * costs, -1, 1))
    assert found.tolist() == [expected[1].tolist()]
    assert not non_finite.any()
