"""`HungarianMatcher` and `SetCriterion` with odd, unequal, packed and wrong annotations."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional as F

from vlp_fast import HungarianMatcher, SetCriterion, ops

CLASSES, QUERIES, ATTRIBUTES = 4, 6, 3
LOSSES = ("labels", "boxes", "cardinality", "attributes")


def make_outputs(images: int, *, layers: int = 2, seed: int = 0) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(seed)

    def layer() -> dict[str, Any]:
        drawn = {
            "pred_logits": torch.randn(images, QUERIES, CLASSES + 1, generator=draw),
            "pred_boxes": 0.2 + 0.4 * torch.rand(images, QUERIES, 4, generator=draw),
            "pred_attributes": torch.randn(images, QUERIES, ATTRIBUTES + 1, generator=draw),
        }
        return {name: value.requires_grad_() for name, value in drawn.items()}

    return {**layer(), "aux_outputs": [layer() for _ in range(layers - 1)]}


def make_targets(counts: list[int], seed: int = 1) -> list[dict[str, Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    return [
        {
            "labels": torch.randint(CLASSES, (n,), generator=draw),
            "boxes": 0.2 + 0.4 * torch.rand(n, 4, generator=draw),
            "attributes": torch.randint(-1, ATTRIBUTES, (n,), generator=draw),
        }
        for n in counts
    ]


def pack(targets: list[dict[str, Tensor]]) -> ops.Targets:
    return ops.make_targets([(t["boxes"], t["labels"], t["attributes"]) for t in targets])


def make_criterion(*losses: str) -> SetCriterion:
    return SetCriterion(CLASSES, HungarianMatcher(1, 5, 2), {}, 0.1, losses or LOSSES)


def leaves(outputs: dict[str, Any]) -> list[Tensor]:
    layers = [*outputs["aux_outputs"], outputs]
    return [layer[name] for layer in layers for name in layer if name.startswith("pred")]


COUNTS = [[0, 40, 3, 0, 25], [25, 0, 0, 1], [6, 7, 5], [0, 0, 0], [90]]
COUNTS += [[more, QUERIES, 7, QUERIES] for more in range(24, 60, 6)]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_pairs_with_many_targets_left_over(counts: list[int]) -> None:
    """More than 16 of them, where sorting changes its algorithm, and images without targets."""
    outputs, targets = make_outputs(len(counts)), make_targets(counts)
    found = HungarianMatcher(0, 1, 0, 0)(outputs, targets)
    assert len(found) == len(counts)
    for image, (queries, numbers) in enumerate(found):
        boxes = outputs["pred_boxes"][image].detach()
        expected = scipy_assignment(torch.cdist(boxes, targets[image]["boxes"], p=1).numpy())
        assert [queries.tolist(), numbers.tolist()] == [x.tolist() for x in expected]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_packed_annotations_are_as_good_as_dictionaries(counts: list[int]) -> None:
    outputs, targets = make_outputs(len(counts)), make_targets(counts)
    criterion = make_criterion()
    for pairs, others in zip(
        criterion.matcher(outputs, pack(targets)), criterion.matcher(outputs, targets), strict=True
    ):
        assert torch.equal(torch.stack(pairs), torch.stack(others))
    found, expected = criterion(outputs, pack(targets)), criterion(outputs, targets)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("kind", [HungarianMatcher, SetCriterion])
def test_the_warning_names_the_line_of_the_call(kind: type) -> None:
    module = make_criterion() if kind is SetCriterion else HungarianMatcher()
    outputs, targets = make_outputs(1), make_targets([2])
    targets[0]["labels"][1] = 99
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module(outputs, targets)
    assert [(one.category, one.filename) for one in caught] == [(RuntimeWarning, __file__)]


def matches_of(criterion: SetCriterion, outputs: Any, targets: Any) -> list[tuple[Tensor, Tensor]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return criterion.matcher(outputs, targets)


@pytest.mark.parametrize("label", [CLASSES, -1, 99, -(2**40), 2**40])
@pytest.mark.parametrize("attribute", [ATTRIBUTES + 1, -7, 99, 2**40])
@pytest.mark.filterwarnings("ignore:HungarianMatcher")
def test_labels_and_attributes_without_a_logit(label: int, attribute: int) -> None:
    """The query of such a label is "no object"; such an attribute is none."""
    outputs, targets = make_outputs(2), make_targets([3, 2])
    targets[0]["labels"][1] = label
    targets[1]["attributes"][:] = torch.tensor([attribute, 1])
    criterion = make_criterion()
    losses = criterion(outputs, targets)
    wanted = torch.full((2, QUERIES), CLASSES)
    tags = torch.full((2, QUERIES), -100)
    pairs = matches_of(criterion, outputs, targets)
    for image, (queries, numbers) in enumerate(pairs):
        wanted[image, queries] = targets[image]["labels"][numbers]
        tags[image, queries] = targets[image]["attributes"][numbers]
    wanted[(wanted < 0) | (wanted > CLASSES)] = CLASSES
    tags[(tags < 0) | (tags > ATTRIBUTES)] = -100
    logits, tagged = (outputs[name].flatten(0, 1) for name in ("pred_logits", "pred_attributes"))
    expected = F.cross_entropy(logits, wanted.flatten(), criterion.empty_weight)
    torch.testing.assert_close(losses["loss_ce"], expected)
    expected = F.cross_entropy(tagged, tags.flatten())
    torch.testing.assert_close(losses["loss_attribute"], expected)
    assert all(loss.isfinite() for loss in losses.values())
    total = torch.stack([losses[name] for name in losses if name.startswith("loss")]).sum()
    for gradient in torch.autograd.grad(total, leaves(outputs)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("class_cost", ["focal", "sigmoid"])
def test_a_matcher_with_another_class_cost_is_refused(class_cost: Any) -> None:
    matcher = HungarianMatcher(class_cost=class_cost)
    with pytest.raises(ValueError, match=f"class_cost '{class_cost}', expected 'softmax'"):
        SetCriterion(CLASSES, matcher, {}, 0.1, ["labels"])


def assert_same_traced(criterion: SetCriterion, outputs: Any, targets: Any) -> None:
    """The backward pass too, whose trace takes most of the time: once is enough."""
    torch.compiler.reset()
    traced = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    for name, value in traced(outputs, pack(targets)).items():
        torch.testing.assert_close(value, criterion(outputs, targets)[name], msg=name)


def test_packed_annotations_are_compiled_a_few_times_in_all() -> None:
    """At first, and when sizes turn into symbols: not for every pattern of counts."""
    draw = np.random.default_rng(0)
    torch.compiler.reset()
    counter = CompileCounterWithBackend("eager")
    criterion = make_criterion()
    fast = torch.compile(criterion, fullgraph=True, backend=counter)
    patterns = [draw.integers(0, 4, 8).tolist() for _ in range(12)]
    for counts in patterns:
        outputs, targets = make_outputs(8), make_targets(counts)
        found, expected = fast(outputs, pack(targets)), criterion(outputs, targets)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=name)
    assert_same_traced(criterion, outputs, targets)
    torch.compiler.reset()
    assert len({tuple(counts) for counts in patterns}) == 12
    assert counter.frame_count <= 4


OTHERS = {
    "enc_outputs": {"pred_logits": torch.zeros(2, 3, 4)},
    "dn_outputs": [{"pred_logits": torch.zeros(2, 3, 4)}],
    "dn_meta": {"groups": 5},
    "pred_masks": torch.zeros(2, 3, 8, 8),
    "interm": ({"pred_boxes": torch.zeros(2, 3, 4)},),
}
SILENT = {"last_hidden_state": torch.zeros(2, 3), "enc_outputs": None, "logs": ["a", "b"]}


@pytest.mark.parametrize("name", OTHERS)
def test_predictions_that_are_not_scored_are_told_once(name: str) -> None:
    criterion, found = make_criterion(), make_outputs(2)
    with pytest.warns(RuntimeWarning, match=f"SetCriterion: received {name} among") as caught:
        told = criterion({**found, name: OTHERS[name]}, make_targets([2, 1]))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = criterion({**found, name: OTHERS[name]}, make_targets([2, 1]))
        silent = make_criterion()({**SILENT, **found}, make_targets([2, 1]))
    for losses in (again, silent):
        torch.testing.assert_close(losses, told)


def test_a_method_of_detr_that_nobody_would_call_is_refused() -> None:
    with pytest.raises(TypeError, match=r"subclass Own with get_loss, which its forward does"):
        type("Own", (SetCriterion,), {"get_loss": lambda self: {}})
    type("Other", (SetCriterion,), {"get_loss": lambda self: {}, "forward": lambda self: {}})
