"""`HungarianMatcher` and `SetCriterion` against DETR's, written out as loops in float64."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

import vlp_fast
from vlp_fast import HungarianMatcher, SetCriterion
from vlp_fast.layers.matching import stacked
from vlp_fast.layers.single_losses import cardinality_error, class_error

CLASSES, QUERIES = 5, 7
WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


def make_outputs(images: int, *, layers: int = 1, seed: int = 0, attributes: int = 0) -> Any:
    draw = torch.Generator().manual_seed(seed)

    def one() -> dict[str, Tensor]:
        centre = torch.rand(images, QUERIES, 2, generator=draw, dtype=torch.float64)
        size = torch.rand(images, QUERIES, 2, generator=draw, dtype=torch.float64) * 0.5 + 0.05
        logits = torch.randn(images, QUERIES, CLASSES + 1, generator=draw, dtype=torch.float64)
        found = {"pred_logits": logits, "pred_boxes": torch.cat([centre, size], -1)}
        if attributes:
            shape = (images, QUERIES, attributes + 1)
            found["pred_attributes"] = torch.randn(shape, generator=draw, dtype=torch.float64)
        return found

    return {**one(), "aux_outputs": [one() for _ in range(layers - 1)]}


def make_targets(counts: list[int], seed: int = 1) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            "labels": torch.randint(CLASSES, (n,), generator=draw),
            "boxes": torch.rand(n, 4, generator=draw, dtype=torch.float64) * 0.5 + 0.2,
        }
        for n in counts
    ]


def corners(box: Tensor) -> Tensor:
    centre, half = box[:2], box[2:] / 2
    return torch.cat([centre - half, centre + half])


def giou(a: Tensor, b: Tensor) -> Tensor:
    a, b = corners(a), corners(b)
    inner = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    outer = (torch.maximum(a[2:], b[2:]) - torch.minimum(a[:2], b[:2])).prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner
    return inner / union - (outer - union) / outer


def detr_match(outputs: Any, targets: Any, weights: tuple[float, float, float]) -> Any:
    """DETR's matcher, image by image and pair by pair."""
    found = []
    for logits, boxes, target in zip(
        outputs["pred_logits"], outputs["pred_boxes"], targets, strict=True
    ):
        cost = np.zeros((len(boxes), len(target["labels"])))
        for i, box in enumerate(boxes.detach()):
            chances = logits[i].detach().softmax(-1)
            for j, (label, wanted) in enumerate(
                zip(target["labels"], target["boxes"].float().double(), strict=True)
            ):
                cost[i, j] = (
                    -weights[0] * chances[label]
                    + weights[1] * (box - wanted).abs().sum()
                    - weights[2] * giou(box, wanted)
                )
        found.append([torch.as_tensor(x) for x in linear_sum_assignment(cost)])
    return found


def detr_losses(outputs: Any, targets: Any, eos_coef: float, suffix: str = "") -> dict[str, Tensor]:
    """DETR's criterion, image by image."""
    indices = detr_match(outputs, targets, (1, 5, 2))
    weight = torch.ones(CLASSES + 1, dtype=torch.float64)
    weight[-1] = eos_coef
    wanted = torch.full(outputs["pred_logits"].shape[:2], CLASSES)
    l1 = overlap = torch.zeros((), dtype=torch.float64)
    for image, ((queries, numbers), target) in enumerate(zip(indices, targets, strict=True)):
        wanted[image, queries] = target["labels"][numbers]
        for query, number in zip(queries, numbers, strict=True):
            box = outputs["pred_boxes"][image, query]
            truth = target["boxes"][number].float().double()
            l1 = l1 + (box - truth).abs().sum()
            overlap = overlap + 1 - giou(box, truth)
    count = max(sum(len(t["labels"]) for t in targets), 1)
    logits = outputs["pred_logits"]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight)
    named = {"loss_ce": loss, "loss_bbox": l1 / count, "loss_giou": overlap / count}
    return {name + suffix: value for name, value in named.items()}


@pytest.mark.parametrize("counts", [[3, 0, 7], [1], [0, 0], [7, 7], [2, 5, 1, 4]])
def test_indices_are_detrs(counts: list[int]) -> None:
    outputs, targets = make_outputs(len(counts)), make_targets(counts)
    matcher = HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    found = matcher(outputs, targets)
    for (queries, numbers), (rows, columns) in zip(
        found, detr_match(outputs, targets, (1, 5, 2)), strict=True
    ):
        assert queries.dtype == numbers.dtype == torch.int64
        assert queries.tolist() == rows.tolist()
        assert numbers.tolist() == columns.tolist()


def test_more_targets_than_queries() -> None:
    outputs, targets = make_outputs(2), make_targets([10, 3])
    found = HungarianMatcher(1, 5, 2)(outputs, targets)
    expected = detr_match(outputs, targets, (1, 5, 2))
    for pairs, others in zip(found, expected, strict=True):
        assert [x.tolist() for x in pairs] == [x.tolist() for x in others]


@pytest.mark.parametrize("counts", [[3, 0, 7], [0, 0], [2, 5, 1, 4]])
def test_losses_and_gradients_are_detrs(counts: list[int]) -> None:
    outputs, targets = make_outputs(len(counts), layers=3), make_targets(counts)
    layers = [*outputs["aux_outputs"], outputs]
    leaves = [layer[name].requires_grad_() for layer in layers for name in sorted(layer)[-2:]]
    criterion = SetCriterion(
        CLASSES, HungarianMatcher(1, 5, 2), WEIGHTS, 0.1, ["labels", "boxes", "cardinality"]
    )
    losses = criterion(outputs, targets)
    expected = detr_losses(outputs, targets, 0.1)
    for number, layer in enumerate(outputs["aux_outputs"]):
        expected |= detr_losses(layer, targets, 0.1, f"_{number}")
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, msg=name)
    extra = {"class_error", *(f"cardinality_error{s}" for s in ("", "_0", "_1"))}
    assert set(losses) == set(expected) | extra

    def total(named: dict[str, Tensor]) -> Tensor:
        return sum(named[n] * w for n in named for k, w in WEIGHTS.items() if n.startswith(k))

    ours = torch.autograd.grad(total(losses), leaves)
    theirs = torch.autograd.grad(total(expected), leaves, allow_unused=True)
    for gradient, other in zip(ours, theirs, strict=True):
        other = torch.zeros_like(gradient) if other is None else other
        torch.testing.assert_close(gradient, other)


def test_errors_for_the_log() -> None:
    logits = torch.full((2, 3, CLASSES + 1), 0.0)
    logits[0, 0, 2] = logits[0, 1, 4] = logits[0, 2, -1] = 9.0  # two objects
    logits[1, :, -1] = 9.0  # none
    packed = vlp_fast.ops.make_targets(
        [
            (torch.rand(1, 4), torch.tensor([2]), torch.tensor([-1])),
            (torch.rand(3, 4), torch.tensor([0, 1, 2]), torch.tensor([-1, -1, -1])),
        ]
    )
    assert cardinality_error(logits[None], packed).tolist() == [(1 + 3) / 2]
    assert class_error(logits, packed, torch.tensor([0, 0, 1, 2])).item() == 75.0
    assert class_error(logits, packed, torch.tensor([0, -1, -1, -1])).item() == 0.0
    assert class_error(logits, packed, torch.tensor([-1, 0, -1, -1])).item() == 100.0
    nothing = vlp_fast.ops.make_targets([])
    assert class_error(logits[:0], nothing, torch.empty(0).long()).item() == 100.0


def test_attributes_are_matched_and_scored() -> None:
    outputs, targets = make_outputs(1, attributes=3), make_targets([2])
    targets[0]["attributes"] = torch.tensor([1, -1])
    outputs["pred_attributes"][0, 4, 1] = 1e4
    criterion = SetCriterion(
        CLASSES, HungarianMatcher(0.0, 1e-3, 0.0, 10.0), WEIGHTS, 0.1, ["attributes"]
    )
    (queries, numbers) = criterion.matcher(outputs, targets)[0]
    assert queries[numbers == 0].tolist() == [4]
    losses = criterion(outputs, targets)
    assert set(losses) == {"loss_attribute"}
    assert losses["loss_attribute"].item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.5, 6.0])
def test_attributes_count_where_they_are_annotated(weight: float) -> None:
    """One image has attributes of some targets, one of all, one has not even the entry."""
    outputs, targets = make_outputs(3, attributes=3, seed=4), make_targets([5, QUERIES + 3, 4])
    outputs["pred_attributes"] *= 3
    targets[0]["attributes"] = torch.tensor([2, -1, 0, -1, 1])
    targets[1]["attributes"] = torch.arange(QUERIES + 3) % 3
    criterion = SetCriterion(CLASSES, HungarianMatcher(0, 1, 0, weight), {}, 0.1, ["attributes"])
    terms = []
    for image, pairs in enumerate(criterion.matcher(outputs, targets)):
        attributes = targets[image].get("attributes", torch.full((4,), -1))
        scores = outputs["pred_attributes"][image].log_softmax(-1)
        chances = torch.where(attributes >= 0, scores.exp()[:, attributes], 0.0)
        cost = torch.cdist(outputs["pred_boxes"][image], targets[image]["boxes"], p=1)
        cost = cost - weight * chances
        best = cost[linear_sum_assignment(cost)].sum()  # distances tie: the pairs may differ
        torch.testing.assert_close(cost[pairs].sum(), best)
        wanted = attributes[pairs[1]]
        terms.append(-scores[pairs[0][wanted >= 0], wanted[wanted >= 0]])
    found = criterion(outputs, targets)["loss_attribute"]
    torch.testing.assert_close(found, torch.cat(terms).mean())


def test_the_module_is_detrs() -> None:
    criterion = SetCriterion(CLASSES, HungarianMatcher(), WEIGHTS, 0.1, ["labels"])
    assert criterion.empty_weight.tolist() == pytest.approx([1.0] * CLASSES + [0.1])
    assert set(criterion.state_dict()) == {"empty_weight"}
    matcher = HungarianMatcher()
    assert (matcher.cost_class, matcher.cost_bbox, matcher.cost_giou) == (1, 1, 1)
    assert isinstance(copy.deepcopy(criterion), SetCriterion)


def test_nothing_is_finite_and_nothing_raises() -> None:
    outputs, targets = make_outputs(2), make_targets([3, 2])
    outputs["pred_boxes"][0] = torch.nan
    outputs["pred_logits"][1, 2] = torch.inf
    with pytest.warns(RuntimeWarning, match="HungarianMatcher: received logits or boxes that are"):
        found = HungarianMatcher()(outputs, targets)
    assert [len(queries) for queries, _ in found] == [3, 2]


def test_edited_class_weights_are_those_of_the_loss() -> None:
    outputs, targets = make_outputs(2), make_targets([3, 2])
    criterion = SetCriterion(CLASSES, HungarianMatcher(), WEIGHTS, 0.1, ["labels"])
    criterion = criterion.double()
    criterion.empty_weight[:] = torch.linspace(0.2, 2.0, CLASSES + 1)
    queries = HungarianMatcher()(outputs, targets)
    classes = torch.full(outputs["pred_logits"].shape[:2], CLASSES)
    for row, target, (query, number) in zip(classes, targets, queries, strict=True):
        row[query] = target["labels"][number]
    expected = F.cross_entropy(
        outputs["pred_logits"].flatten(0, 1), classes.flatten(), criterion.empty_weight
    )
    torch.testing.assert_close(criterion(outputs, targets)["loss_ce"], expected)


def test_the_criterion_never_reads_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, targets = make_outputs(2, layers=2), make_targets([3, 2])
    criterion = SetCriterion(
        CLASSES, HungarianMatcher(), WEIGHTS, 0.1, ["labels", "boxes", "cardinality"]
    )
    logits = outputs["pred_logits"].requires_grad_()
    with FakeTensorMode(allow_non_fake_inputs=True):
        losses = criterion(outputs, targets)
        torch.autograd.grad(losses["loss_ce"], logits)


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="expected one of cost_class"):
        HungarianMatcher(0, 0, 0)
    with pytest.raises(ValueError, match="the loss 'masks', expected some of"):
        SetCriterion(CLASSES, HungarianMatcher(), {}, 0.1, ["labels", "masks"])
    with pytest.raises(TypeError, match="the matcher Identity, expected a vlp_fast"):
        SetCriterion(CLASSES, torch.nn.Identity(), {}, 0.1, ["labels"])
    outputs, targets = make_outputs(2), make_targets([3, 2])
    criterion = SetCriterion(91, HungarianMatcher(), {}, 0.1, ["labels"])
    with pytest.raises(ValueError, match="logits of 6 classes, expected 91 and no object"):
        criterion(outputs, targets)
    criterion = SetCriterion(CLASSES, HungarianMatcher(), {}, 0.1, ["attributes"])
    with pytest.raises(ValueError, match="received no pred_attributes"):
        criterion(outputs, targets)
    with pytest.raises(ValueError, match="targets of 1 images, expected 2"):
        HungarianMatcher()(outputs, targets[:1])
    assert len(stacked(outputs)[0]) == 1
