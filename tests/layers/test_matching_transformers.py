"""`HungarianMatcher` and `SetCriterion` against transformers' DETR: indices, losses, gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.loss import loss_for_object_detection as theirs

from vlp_fast import HungarianMatcher, SetCriterion
from vlp_fast.data.records import Record
from vlp_fast.data.sources import load_dataset

QUERIES, CLASSES, LAYERS = 9, 12, 6
COSTS = (1, 5, 2)
LOSSES = ["labels", "boxes", "cardinality"]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
COUNTS = {
    "random": [3, 1, 7, 2],
    "some images empty": [0, 4, 0, 2],
    "all images empty": [0, 0, 0],
    "one target": [1],
    "as many targets as queries": [QUERIES, QUERIES],
    "more targets than queries": [QUERIES + 4, 2, QUERIES + 1],
}
each_kind = pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def make_boxes(*shape: int, draw: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    centre, size = (torch.rand(*shape, 2, generator=draw, dtype=dtype) for _ in range(2))
    return torch.cat([0.2 + 0.6 * centre, 0.05 + 0.35 * size], -1)


def make_outputs(
    images: int, *, seed: int = 0, queries: int = QUERIES, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """Leaves under transformers' names, of six layers."""
    draw = torch.Generator().manual_seed(seed)
    layers: list[dict[str, Any]] = []
    for _ in range(LAYERS):
        logits = 2 * torch.randn(images, queries, CLASSES + 1, generator=draw, dtype=dtype)
        boxes = make_boxes(images, queries, draw=draw, dtype=dtype)
        layers.append({"logits": logits.requires_grad_(), "pred_boxes": boxes.requires_grad_()})
    return {**layers[-1], "auxiliary_outputs": layers[:-1]}


def make_targets(
    counts: list[int], *, seed: int = 1, dtype: torch.dtype = torch.float32
) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            "class_labels": torch.randint(CLASSES, (n,), generator=draw),
            "boxes": make_boxes(n, draw=draw, dtype=dtype),
        }
        for n in counts
    ]


def make_criteria(
    *, costs: tuple[float, float, float] = COSTS, eos_coef: float = 0.1
) -> tuple[SetCriterion, theirs.ImageLoss]:
    ours = SetCriterion(CLASSES, HungarianMatcher(*costs), {}, eos_coef, LOSSES)
    return ours, theirs.ImageLoss(theirs.HungarianMatcher(*costs), CLASSES, eos_coef, LOSSES)


def gradients(losses: dict[str, Tensor], outputs: dict[str, Any]) -> list[Tensor]:
    """Of all layers, from a total in which each loss has a weight of its own."""
    total = sum(
        (3 + number) / 7 * losses[name]
        for number, name in enumerate(sorted(losses))
        if name.startswith("loss")
    )
    layers = [*outputs["auxiliary_outputs"], outputs]
    leaves = [layer[name] for layer in layers for name in ("logits", "pred_boxes")]
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    return [
        torch.zeros_like(leaf) if one is None else one
        for one, leaf in zip(found, leaves, strict=True)
    ]


def assert_same(
    outputs: dict[str, Any], targets: list[dict[str, Tensor]], **settings: Any
) -> dict[str, Tensor]:
    """Names, values and gradients of all losses agree; returns ours."""
    ours, stock = make_criteria(**settings)
    stock.to(outputs["logits"].dtype)
    found, expected = ours(outputs, targets), stock(outputs, targets)
    found.pop("class_error")  # DETR's, which transformers has dropped
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **CLOSE, check_dtype=False, msg=name)
    for one, other in zip(gradients(found, outputs), gradients(expected, outputs), strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    return found


@each_dtype
@each_kind
def test_indices(counts: list[int], dtype: torch.dtype) -> None:
    outputs = make_outputs(len(counts), dtype=dtype)
    targets = make_targets(counts, dtype=dtype)
    found = HungarianMatcher(*COSTS)(outputs, targets)
    expected = theirs.HungarianMatcher(*COSTS)(outputs, targets)
    for pairs, others in zip(found, expected, strict=True):
        for one, other in zip(pairs, others, strict=True):
            assert torch.equal(one, other)


@each_dtype
@each_kind
def test_losses_and_gradients(counts: list[int], dtype: torch.dtype) -> None:
    outputs = make_outputs(len(counts), dtype=dtype)
    found = assert_same(outputs, make_targets(counts, dtype=dtype))
    assert {f"loss_giou_{layer}" for layer in range(LAYERS - 1)} < set(found)


@pytest.mark.parametrize("costs", [(1, 0, 0), (0, 9, 0.2), (0, 0, 1), (0.3, 2, 7)], ids=str)
@pytest.mark.parametrize("eos_coef", [0.02, 0.1, 1.0])
def test_weights_of_the_cost_and_of_no_object(
    costs: tuple[float, float, float], eos_coef: float
) -> None:
    outputs, targets = make_outputs(3, seed=5), make_targets([4, 6, 1], seed=6)
    draw = torch.Generator().manual_seed(7)
    # Two labels alike would tie where the class alone counts, as distances alone do by themselves.
    for target in targets:
        order = torch.randperm(CLASSES, generator=draw)
        target["class_labels"] = order[: len(target["boxes"])]
    assert_same(outputs, targets, costs=costs, eos_coef=eos_coef)


@pytest.mark.parametrize("seed", range(20))
def test_many_draws(seed: int) -> None:
    counts = torch.randint(0, QUERIES + 4, (4,), generator=torch.Generator().manual_seed(seed))
    assert_same(make_outputs(4, seed=seed), make_targets(counts.tolist(), seed=100 + seed))


def test_cardinality_counts_what_is_not_no_object() -> None:
    outputs, targets = make_outputs(3), make_targets([2, 0, 5])
    with torch.no_grad():
        for number, layer in enumerate([*outputs["auxiliary_outputs"], outputs]):
            layer["logits"][0, :, -1] -= 50
            layer["logits"][0, : 2 + number, -1] += 100
            layer["logits"][1, :, -1] += 50
            layer["logits"][2, :, -1] -= 50
    found = assert_same(outputs, targets)
    # Of 9 queries 7 are left to "no object" in the first image: 2 objects, 0, and 9 instead of 5.
    assert found["cardinality_error"].item() == pytest.approx((0 + 0 + 4) / 3)
    assert found["cardinality_error_0"].item() == pytest.approx((5 + 0 + 4) / 3)


DEGENERATE = {
    "point": [0.5, 0.5, 0.0, 0.0],
    "line": [0.3, 0.6, 0.2, 0.0],
    "other line": [0.7, 0.4, 0.0, 0.3],
    "whole image": [0.5, 0.5, 1.0, 1.0],
    "beyond the image": [0.95, 0.05, 0.4, 0.3],
    "sliver": [0.4, 0.4, 1e-3, 0.5],
}


@each_dtype
@pytest.mark.parametrize("kind", DEGENERATE)
@pytest.mark.parametrize("where", ["targets", "predictions"])
def test_degenerate_boxes(where: str, kind: str, dtype: torch.dtype) -> None:
    outputs, targets = make_outputs(2, dtype=dtype), make_targets([4, 3], dtype=dtype)
    box = torch.tensor(DEGENERATE[kind], dtype=dtype)
    if where == "targets":
        targets[0]["boxes"][1] = box
    else:
        with torch.no_grad():
            for layer in [*outputs["auxiliary_outputs"], outputs]:
                layer["pred_boxes"][0] = box
    assert_same(outputs, targets)


def test_predictions_that_hit_their_target_exactly() -> None:
    outputs, targets = make_outputs(2), make_targets([3, 2])
    with torch.no_grad():
        for layer in [*outputs["auxiliary_outputs"], outputs]:
            layer["pred_boxes"][0, 4:7] = targets[0]["boxes"]
            layer["pred_boxes"][1, 3] = targets[1]["boxes"][0] + torch.tensor([0.0, 0.1, 0.0, 0.0])
    found = assert_same(outputs, targets, costs=(0, 5, 2))
    assert torch.isfinite(torch.stack(list(found.values()))).all()


def test_the_matcher_alone_serves_their_criterion() -> None:
    outputs, targets = make_outputs(3), make_targets([3, 0, QUERIES + 2])
    stock = make_criteria()[1]
    expected = stock(outputs, targets)
    stock.matcher = HungarianMatcher(*COSTS)
    found = stock(outputs, targets)
    assert {k: v.item() for k, v in found.items()} == {k: v.item() for k, v in expected.items()}


@pytest.fixture(scope="module")
def records(small_world: Path) -> tuple[Record, ...]:
    """Annotations of the drawn world, read from its files in the layout of COCO."""
    return load_dataset(small_world, "train", layout="karpathy", needs_boxes=True).records


def annotations_of(record: Record) -> dict[str, Tensor]:
    """As DETR's processor makes them: centre and size, as parts of the image."""
    low, high = np.split(record.boxes / np.tile([record.width, record.height], 2), 2, axis=1)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1, dtype=np.float32)
    return {
        "class_labels": torch.from_numpy(record.labels % CLASSES),
        "boxes": torch.from_numpy(boxes),
    }


@pytest.mark.parametrize("start", range(0, 48, 8))
def test_boxes_of_pictures(records: tuple[Record, ...], start: int) -> None:
    """Predictions near the truth, far from it and alike, as in training."""
    targets = [annotations_of(record) for record in records[start : start + 8]]
    assert sum(len(target["boxes"]) for target in targets) > 8
    outputs = make_outputs(8, seed=start, queries=40)
    draw = torch.Generator().manual_seed(start)
    with torch.no_grad():
        for layer in [*outputs["auxiliary_outputs"], outputs]:
            for image, target in enumerate(targets):
                truth, count = target["boxes"], len(target["boxes"])
                noise = 0.02 * torch.randn(3 * count, 4, generator=draw)
                layer["pred_boxes"][image, : 3 * count] = (truth.repeat(3, 1) + noise).clamp(0.01)
                hits = layer["logits"][image, torch.arange(count), target["class_labels"]]
                layer["logits"][image, torch.arange(count), target["class_labels"]] = hits + 3
    assert_same(outputs, targets)
