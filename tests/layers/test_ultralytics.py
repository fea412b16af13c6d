"""Ultralytics' matcher and RT-DETR loss beside ours, as docs/layers.md puts ours in their place."""

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

other("ultralytics.models.utils.loss")
from ultralytics.models.utils.loss import DETRLoss, RTDETRDetectionLoss  # noqa: E402
from ultralytics.models.utils.ops import HungarianMatcher as TheirMatcher  # noqa: E402

CLOSE = 1e-5  # they match and score overlaps in float32, and add 1e-7 to areas
SETS = 3


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page defines: `Matcher` for their loss, `losses` of all layers at once."""
    text = section(PAGES["layers.md"], "From other detectors")
    return run_snippet(text, "from itertools import accumulate")


def problem(counts: list[int], *, seed: int = 0) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Boxes, scores and a batch as their model hands it to its loss, in float32."""
    scores, boxes = predictions(SETS, len(counts), QUERIES, seed=seed)
    leaves = (x.detach().float().requires_grad_() for x in (boxes, scores))
    every = annotations(counts, seed=seed)
    batch = {
        "cls": torch.cat([one["labels"] for one in every]),
        "bboxes": torch.cat([one["boxes"].float() for one in every]),
        "gt_groups": counts,
    }
    return (*leaves, batch)


def denoising(counts: list[int], *, seed: int = 0) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Boxes, scores and meta of two groups, positive queries of a group in front of negative."""
    longest = max(counts)
    scores, boxes = predictions(SETS, len(counts), 4 * longest, seed=50 + seed)
    first = [torch.arange(n) for n in counts]
    starts = torch.tensor([0, *counts]).cumsum(0)
    meta = {
        "dn_pos_idx": [torch.cat([one, one + 2 * longest]) for one in first],
        "dn_gt_idx": [one + start for one, start in zip(first, starts, strict=False)],
        "dn_num_group": 2,
        "dn_num_split": [4 * longest, QUERIES],
    }
    leaves = (x.detach().float().requires_grad_() for x in (boxes, scores))
    return (*leaves, meta)


@each_count
def test_pairs(counts: list[int], page: dict[str, Any]) -> None:
    for seed in range(4):
        boxes, scores, batch = problem(counts, seed=seed)
        given = boxes[0], scores[0], batch["bboxes"], batch["cls"], counts
        theirs = TheirMatcher({"class": 2, "bbox": 5, "giou": 2})
        found = page["Matcher"](2, 5, 2, class_cost="focal")(*given)
        assert as_lists(found) == as_lists(theirs(*given))


def test_pairs_by_softmax_alpha_and_gamma(page: dict[str, Any]) -> None:
    boxes, scores, batch = problem([4, 3, 5], seed=9)
    given = boxes[0], scores[0], batch["bboxes"], batch["cls"], batch["gt_groups"]
    gain, found = {"class": 6, "bbox": 1, "giou": 1}, []
    theirs = TheirMatcher(gain, use_fl=False)
    found.append(as_lists(page["Matcher"](6, 1, 1)(*given)))
    assert found[-1] == as_lists(theirs(*given))
    theirs = TheirMatcher(gain, alpha=0.8, gamma=0.5)
    options = {"class_cost": "focal", "focal_alpha": 0.8, "focal_gamma": 0.5}
    found.append(as_lists(page["Matcher"](6, 1, 1, **options)(*given)))
    assert found[-1] == as_lists(theirs(*given)) != found[0]


@each_count
@pytest.mark.parametrize("use_vfl", [True, False])
def test_their_loss_with_our_matcher(
    counts: list[int], use_vfl: bool, page: dict[str, Any]
) -> None:
    boxes, scores, batch = problem(counts)
    theirs, ours = (DETRLoss(CLASSES, use_vfl=use_vfl) for _ in range(2))
    ours.matcher = page["Matcher"](2, 5, 2, class_cost="focal")
    results = [one(boxes, scores, batch) for one in (theirs, ours)]
    assert_same(*results, (boxes, scores), 0.0)


@each_count
@pytest.mark.parametrize("is_denoised", [True, False])
def test_losses_of_all_layers_at_once(
    counts: list[int], is_denoised: bool, page: dict[str, Any]
) -> None:
    boxes, scores, batch = problem(counts, seed=1)
    given = [boxes, scores]
    more: list[Any] = []
    if is_denoised and max(counts):
        more = [*denoising(counts, seed=1)]
        given += more[:2]
    expected = RTDETRDetectionLoss(CLASSES, use_vfl=True)((boxes, scores), batch, *more)
    found = page["losses"]((boxes, scores), batch, *more)
    if not more:
        expected = {key: expected[key] for key in found}
    assert_same(expected, found, tuple(given), CLOSE)


def test_layers_matched_as_one_of_them(page: dict[str, Any]) -> None:
    """`use_uni_match`: the pairs of one layer are those of all before the last."""
    boxes, scores, batch = problem([3, 2], seed=2)
    theirs, ours = (DETRLoss(CLASSES, use_uni_match=True, uni_match_ind=1) for _ in range(2))
    ours.matcher = page["Matcher"](2, 5, 2, class_cost="focal")
    assert_same(theirs(boxes, scores, batch), ours(boxes, scores, batch), (boxes, scores), 0.0)


def test_what_is_not_finite_is_never_the_best_here(page: dict[str, Any]) -> None:
    """There a cost that is none counts as 0, and wins where the others cost more."""
    boxes, scores, batch = problem([1])
    boxes = boxes.detach()
    batch["bboxes"][0] = torch.tensor([0.1, 0.1, 0.05, 0.05])
    boxes[..., :2], boxes[..., 2:] = 0.9, 0.1
    boxes[0, 0, 2] = torch.nan
    given = boxes[0], scores[0].detach() - 4, batch["bboxes"], batch["cls"], batch["gt_groups"]
    assert as_lists(TheirMatcher({"class": 2, "bbox": 5, "giou": 2})(*given))[0][0] == [2]
    with pytest.warns(RuntimeWarning, match="not finite"):
        found = page["Matcher"](2, 5, 2, class_cost="focal")(*given)
    assert as_lists(found)[0][0] != [2]


def test_boxes_as_small_as_a_pixel(page: dict[str, Any]) -> None:
    """1e-7 beside areas of 1e-6: another overlap there, not another pair here."""
    boxes, scores, batch = problem([3, 2], seed=5)
    with torch.no_grad():
        boxes[..., 2:] /= 128
        batch["bboxes"][:, 2:] /= 128
    expected = RTDETRDetectionLoss(CLASSES, use_vfl=True)((boxes, scores), batch)
    found = page["losses"]((boxes, scores), batch)
    assert_same({k: expected[k] for k in found}, found, (boxes, scores), 0.05)
