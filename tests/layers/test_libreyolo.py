"""LibreYOLO's criterion of RT-DETR, and its matchers of later ones, beside ours."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from other_detectors import CLASSES, QUERIES, annotations, as_lists, assert_same, other, predictions
from torch import Tensor

from vlp_fast import HungarianMatcher, ops
from vlp_fast.layers.class_losses import focal_loss, varifocal_loss
from vlp_fast.layers.matched_pairs import MatchedPairs

other("libreyolo.models.rtdetr.loss")
from libreyolo.models.deim.matcher import HungarianMatcher as OfDeim  # noqa: E402
from libreyolo.models.dfine.matcher import HungarianMatcher as OfDFine  # noqa: E402
from libreyolo.models.rtdetr.loss import HungarianMatcher as OfRTDetr  # noqa: E402
from libreyolo.models.rtdetr.loss import RTDETRLoss  # noqa: E402

CLOSE = 1e-4  # theirs is float32, and adds 1e-6 to areas
WEIGHTS = {"cost_class": 2, "cost_bbox": 5, "cost_giou": 2}
COUNTS = {
    "some": [3, 1, 2],
    "an image without": [0, 4],
    "one image": [2],
    "more than queries": [QUERIES + 3, 2],
}
each_count = pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)


def problem(counts: list[int], *, seed: int = 0) -> tuple[Any, Any, Any]:
    """Outputs of two layers and of two of denoising, annotations, leaves."""
    longest, images = max(counts), len(counts)
    leaves = [
        x.detach().float().requires_grad_()
        for queries in (QUERIES, 4 * longest)
        for x in predictions(2, images, queries, seed=seed + queries)
    ]
    normal, noisy = (
        [{"pred_logits": a, "pred_boxes": b} for a, b in zip(*pair, strict=True)]
        for pair in (leaves[:2], leaves[2:])
    )
    first = [torch.arange(n) for n in counts]
    positive = [torch.cat([one, one + 2 * longest]) for one in first]
    meta = {"dn_positive_idx": positive, "dn_num_group": 2}
    outputs = {**normal[1], "aux_outputs": normal[:1], "dn_aux_outputs": noisy, "dn_meta": meta}
    targets = [{**one, "boxes": one["boxes"].float()} for one in annotations(counts, seed=seed)]
    return outputs, targets, leaves


@each_count
@pytest.mark.parametrize("theirs", [OfRTDetr, OfDFine, OfDeim])
def test_pairs(counts: list[int], theirs: Callable[..., Any]) -> None:
    for seed in range(3):
        outputs, targets, _ = problem(counts, seed=seed)
        expected = theirs(WEIGHTS, use_focal_loss=True)(outputs, targets)
        pairs = expected["indices"] if isinstance(expected, dict) else expected
        assert as_lists(
            HungarianMatcher(2, 5, 2, class_cost="focal")(outputs, targets)
        ) == as_lists(pairs)


def scored(sets: Any, pairs: MatchedPairs, count: float, use_vfl: bool) -> list[dict[str, Tensor]]:
    """Losses of each set by their names, weighted as theirs."""
    logits, boxes = (
        torch.stack([one[key] for one in sets]) for key in ("pred_logits", "pred_boxes")
    )
    bbox, giou = pairs.box_losses(boxes)
    if use_vfl:
        named = {"loss_vfl": varifocal_loss(logits, boxes, pairs)}
    else:
        named = {"loss_focal": focal_loss(logits, pairs, alpha=0.75)}
    named |= {"loss_bbox": 5 * bbox, "loss_giou": 2 * giou}
    return [{name: term[a] / count for name, term in named.items()} for a in range(len(sets))]


@each_count
@pytest.mark.parametrize("use_vfl", [True, False])
def test_losses(counts: list[int], use_vfl: bool) -> None:
    outputs, targets, leaves = problem(counts, seed=3)
    expected = RTDETRLoss(CLASSES, use_vfl=use_vfl)(outputs, targets)
    packed, matcher = ops.make_targets(targets), HungarianMatcher(2, 5, 2, class_cost="focal")
    sets, noisy = [outputs, *outputs["aux_outputs"]], outputs["dn_aux_outputs"]
    logits, boxes = (
        torch.stack([one[key] for one in sets]) for key in ("pred_logits", "pred_boxes")
    )
    pairs = MatchedPairs.of(packed, matcher.match(logits, boxes, None, packed))
    last, before = scored(sets, pairs, sum(counts), use_vfl)
    numbers = [torch.arange(n).repeat(2) for n in counts]
    given = [*zip(outputs["dn_meta"]["dn_positive_idx"], numbers, strict=True)]
    known = MatchedPairs.of_indices(packed, given, num_sets=len(noisy))
    found = last | {f"{key}_aux_0": loss for key, loss in before.items()}
    for number, one in enumerate(scored(noisy, known, 2 * sum(counts), use_vfl)):
        found |= {f"{key}_dn_{number}": loss for key, loss in one.items()}
    found["total_loss"] = torch.stack([*found.values()]).sum()
    assert_same(expected, found, tuple(leaves), CLOSE)
