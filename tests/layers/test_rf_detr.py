"""RF-DETR's matcher and criterion beside ours, as docs/layers.md puts ours in their place."""

import logging
from typing import Any

import pytest
import torch
from other_detectors import (
    CLASSES,
    QUERIES,
    annotations,
    as_lists,
    assert_same,
    each_count,
    other,
    predictions,
)
from pages import PAGES, run_snippet, section
from torch import Tensor
from torch.nn.functional import softplus

from vlp_fast import HungarianMatcher, ops
from vlp_fast.layers.class_losses import focal_loss, varifocal_loss
from vlp_fast.layers.matched_pairs import MatchedPairs

other("rfdetr.models.criterion")
from rfdetr.models.criterion import SetCriterion  # noqa: E402
from rfdetr.models.heads.keypoints import compute_keypoint_matching_cost  # noqa: E402
from rfdetr.models.matcher import HungarianMatcher as TheirMatcher  # noqa: E402

CLOSE = 1e-10
GROUPS, COSTS = 3, (2, 5, 2)
LOSSES = ["labels", "boxes"]


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page defines: `Matcher` for their criterion, `losses` of all layers at once."""
    return run_snippet(section(PAGES["layers.md"], "From other detectors"), "import torch\nfrom rf")


def problem(counts: list[int], *, seed: int = 0, **options: Any) -> tuple[Any, Any, Any]:
    """Outputs of two decoder layers and the encoder, annotations, leaves."""
    leaves = predictions(3, len(counts), QUERIES * GROUPS, seed=seed, **options)
    last, before, encoder = (
        {"pred_logits": logits, "pred_boxes": boxes} for logits, boxes in zip(*leaves, strict=True)
    )
    outputs = {**last, "aux_outputs": [before], "enc_outputs": encoder}
    return outputs, annotations(counts, seed=seed), leaves


def criterion(**options: Any) -> Any:
    return SetCriterion(CLASSES, TheirMatcher(*COSTS), {}, 0.25, LOSSES, GROUPS, **options)


def total_cost(outputs: Any, target: Any, image: int, pairs: Any) -> float:
    """Of the pairs of an image, by definition, in float64."""
    at, numbers = pairs
    p = outputs["pred_logits"][image].double().sigmoid()[at, target["labels"][numbers]]
    focal = -0.25 * (1 - p) ** 2 * p.log() + 0.75 * p**2 * (1 - p).log()
    predicted, wanted = outputs["pred_boxes"][image][at], target["boxes"][numbers]
    corners = (ops.boxes.cxcywh_to_xyxy(x) for x in (predicted, wanted))
    distance = (predicted - wanted).abs().sum(-1)
    return float((2 * focal + 5 * distance - 2 * ops.boxes.giou(*corners)).sum())


@each_count
@pytest.mark.parametrize("groups", [1, GROUPS])
def test_pairs(counts: list[int], groups: int, page: dict[str, Any]) -> None:
    for seed in range(3):
        outputs, targets, _ = problem(counts, seed=seed)
        expected = TheirMatcher(*COSTS)(outputs, targets, group_detr=groups)
        found = page["Matcher"](*COSTS, class_cost="focal")(outputs, targets, group_detr=groups)
        assert as_lists(found) == as_lists(expected)


@each_count
def test_their_criterion_with_our_matcher(counts: list[int], page: dict[str, Any]) -> None:
    outputs, targets, leaves = problem(counts)
    theirs, ours = criterion(ia_bce_loss=True), criterion(ia_bce_loss=True)
    ours.matcher = page["Matcher"](*COSTS, class_cost="focal")
    results = [one(outputs, targets) for one in (theirs, ours)]
    for one in results:
        one.pop("class_error")  # no gradient
        assert not any(key.startswith("cardinality") for key in one)
    assert_same(*results, leaves, CLOSE)


@each_count
def test_losses_of_all_layers_at_once(counts: list[int], page: dict[str, Any]) -> None:
    for seed in range(2):
        outputs, targets, leaves = problem(counts, seed=seed)
        expected = criterion(ia_bce_loss=True)(outputs, targets)
        found = page["losses"](outputs, targets, groups=GROUPS)
        assert_same({key: expected[key] for key in found}, found, leaves, CLOSE)
        assert set(expected) == {*found, "class_error"}


def of_classes(kind: str, outputs: Any, targets: Any) -> Tensor:
    """Their other class losses by ours, of the last layer, divided by the number of pairs."""
    logits, boxes = outputs["pred_logits"][None], outputs["pred_boxes"][None]
    packed, size = ops.make_targets(targets), QUERIES
    groups = [(size * group, size * (group + 1)) for group in range(GROUPS)]
    matcher = HungarianMatcher(*COSTS, class_cost="focal")
    pairs = MatchedPairs.of(packed, matcher.match_slices(logits, boxes, None, packed, groups))
    count = max(sum(packed.counts) * GROUPS, 1)
    if kind == "focal":
        return focal_loss(logits, pairs)[0] / count
    options = {"alpha": 1 - 0.25, "is_weight_fixed": False}
    return varifocal_loss(logits, boxes, pairs.overlapping(boxes), **options)[0] / count


@each_count
@pytest.mark.parametrize("kind", ["focal", "varifocal"])
def test_their_other_class_losses(kind: str, counts: list[int]) -> None:
    outputs, targets, leaves = problem(counts, seed=4)
    for target in targets:  # pairs that share nothing, too
        target["boxes"][:1, 2:] = 2.0**-5
    expected = criterion(use_varifocal_loss=kind == "varifocal")(outputs, targets)["loss_ce"]
    found = of_classes(kind, outputs, targets)
    assert_same({"loss_ce": expected}, {"loss_ce": found}, leaves, CLOSE)


def extra_of(cost: Tensor, targets: Any) -> Tensor:
    """(B, Q, T) costs of all images to those of each target's own: (T, Q)."""
    packed = ops.make_targets(targets)
    return cost.permute(0, 2, 1)[packed.image_of, torch.arange(cost.shape[2])]


def in_float32(outputs: Any, targets: Any) -> tuple[Any, Any]:
    """What their masks and keypoints need; of the last layer alone."""
    last = {key: value.float() for key, value in outputs.items() if isinstance(value, Tensor)}
    return last, [{**one, "boxes": one["boxes"].float()} for one in targets]


@pytest.mark.parametrize("counts", [[3, 1, 2], [0, 4], [QUERIES + 2, 1]])
@pytest.mark.parametrize("groups", [1, GROUPS])
def test_costs_of_masks(counts: list[int], groups: int) -> None:
    outputs, targets, _ = problem(counts)
    draw = torch.Generator().manual_seed(5)
    outputs, targets = in_float32(outputs, targets)
    masks = torch.randn(len(counts), QUERIES * GROUPS, 8, 8, generator=draw)
    outputs["pred_masks"] = masks
    for target, n in zip(targets, counts, strict=True):
        target["masks"] = torch.rand(n, 16, 16, generator=draw) < 0.5
    theirs = TheirMatcher(*COSTS, cost_mask_ce=5, cost_mask_dice=4, mask_point_sample_ratio=4)
    size, parts = QUERIES * GROUPS // groups, range(groups)
    with torch.random.fork_rng():
        torch.manual_seed(1)  # where they look at the masks
        expected = theirs(outputs, targets, group_detr=groups)
        torch.manual_seed(1)
        entropy, dice = theirs._compute_mask_costs(outputs, targets)
    extra = (5 * entropy + 4 * dice).view(len(counts), QUERIES * GROUPS, -1)
    found, plain = (
        HungarianMatcher(*COSTS, class_cost="focal")(
            outputs,
            targets,
            extra_cost=cost,
            slices=[(size * part, size * (part + 1)) for part in parts],
        )
        for cost in (extra_of(extra, targets), None)
    )
    assert as_lists(found) == as_lists(expected) != as_lists(plain)


def test_costs_of_keypoints() -> None:
    outputs, targets, _ = problem([3, 1, 2])
    draw, points = torch.Generator().manual_seed(6), [4, 4, 0, 2, 4]
    shape = (3, QUERIES * GROUPS, len(points) * max(points), 8)
    outputs["pred_keypoints"] = torch.rand(*shape, generator=draw)
    for target in targets:
        place = torch.rand(len(target["labels"]), max(points), 2, generator=draw)
        seen = torch.randint(3, (*place.shape[:2], 1), generator=draw)
        target["keypoints"] = torch.cat([place, seen], -1)
    names = ("l1", "findable", "visible", "nll")
    weights = {f"keypoint_{name}_loss_coef": 0.5 + n for n, name in enumerate(names)}
    theirs = TheirMatcher(*COSTS, num_keypoints_per_class=points, **weights)
    outputs, targets = in_float32(outputs, targets)
    every = {key: torch.cat([one[key] for one in targets]) for key in targets[0]}
    areas = every["boxes"][:, 2] * every["boxes"][:, 3]
    given = (outputs["pred_keypoints"], every["keypoints"], every["labels"], areas)
    costs = compute_keypoint_matching_cost(*given, num_keypoints_per_class=points)
    extra = sum(weight * cost for weight, cost in zip(weights.values(), costs, strict=True))
    matcher = HungarianMatcher(*COSTS, class_cost="focal")
    found = matcher(outputs, targets, extra_cost=extra_of(extra, targets))
    assert (
        as_lists(found) == as_lists(theirs(outputs, targets)) != as_lists(matcher(outputs, targets))
    )


def test_queries_that_are_alike_cost_the_same_in_all(page: dict[str, Any]) -> None:
    outputs, targets, _ = problem([3, 2])
    outputs = {key: value.detach() for key, value in outputs.items() if isinstance(value, Tensor)}
    outputs = {key: value[:, :1].expand(-1, QUERIES, -1) for key, value in outputs.items()}
    matchers = TheirMatcher(*COSTS), page["Matcher"](*COSTS, class_cost="focal")
    every = [matcher(outputs, targets) for matcher in matchers]
    for image, target in enumerate(targets):
        one, another = (total_cost(outputs, target, image, pairs[image]) for pairs in every)
        assert one == pytest.approx(another, rel=1e-9)


@pytest.mark.parametrize("scale", [60.0, 300.0])
def test_sure_predictions(scale: float) -> None:
    """Their cost grows beyond a logit of 18, where Deformable DETR's is level: it can be added."""
    outputs, targets, _ = problem([3, 1, 4], seed=1, scale=scale)
    packed = ops.make_targets(targets)
    x = outputs["pred_logits"][packed.image_of, :, packed.labels]
    focal = 0.25 * (-x).sigmoid() ** 2 * softplus(-x) - 0.75 * x.sigmoid() ** 2 * softplus(x)
    expected = TheirMatcher(*COSTS)(outputs, targets)
    found = HungarianMatcher(0, *COSTS[1:])(outputs, targets, extra_cost=2 * focal)
    level = HungarianMatcher(*COSTS, class_cost="focal")(outputs, targets)
    assert as_lists(found) == as_lists(expected) != as_lists(level)


def test_what_is_not_finite_is_matched_last_by_both(page: dict[str, Any]) -> None:
    outputs, targets, _ = problem([3, 2])
    outputs = {key: outputs[key].detach() for key in ("pred_logits", "pred_boxes")}
    outputs["pred_boxes"][0, 2] = torch.nan
    outputs["pred_logits"][1, 4] = torch.inf
    logging.disable(logging.WARNING)
    expected = TheirMatcher(*COSTS)(outputs, targets)
    logging.disable(logging.NOTSET)
    with pytest.warns(RuntimeWarning, match="not finite"):
        found = page["Matcher"](*COSTS, class_cost="focal")(outputs, targets)
    assert as_lists(found) == as_lists(expected)
    assert 2 not in found[0][0] and 4 not in found[1][0]


def test_points_and_lines(page: dict[str, Any]) -> None:
    """Boxes without area, the same box twice, a box upon a query."""
    outputs, targets, leaves = problem([4, 2], seed=3)
    targets[0]["boxes"][0, 2:] = 0
    targets[0]["boxes"][1, 3] = 0
    targets[0]["boxes"][3] = targets[0]["boxes"][2]
    targets[1]["boxes"][0] = outputs["pred_boxes"][1, 3].detach().float()
    expected = criterion(ia_bce_loss=True)(outputs, targets)
    found = page["losses"](outputs, targets, groups=GROUPS)
    assert_same({key: expected[key] for key in found}, found, leaves, CLOSE)
