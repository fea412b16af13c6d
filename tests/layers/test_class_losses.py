"""Class losses by their definition, one logit at a time in float64, and pairs given by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.layers.class_losses import iou_aware_loss, varifocal_loss
from vlp_fast.layers.matched_pairs import MatchedPairs

SETS, QUERIES, CLASSES = 2, 4, 3
COUNTS = (2, 0, 3)
INDICES = [([3, 0, 1], [1, 0, 1]), ([], []), ([2, 0], [0, 2])]
"""Of each image queries and targets: one has two queries, one has none."""


def drawn() -> tuple[Tensor, Tensor, ops.Targets]:
    draw = torch.Generator().manual_seed(0)

    def boxes(*shape: int) -> Tensor:
        size = 0.1 + 0.3 * torch.rand(*shape, 2, generator=draw)
        return torch.cat([0.3 + 0.4 * torch.rand(*shape, 2, generator=draw), size], -1)

    shape = (SETS, len(COUNTS), QUERIES)
    logits = 2 * torch.randn(*shape, CLASSES, generator=draw, dtype=torch.float64)
    labels = [torch.randint(CLASSES, (n,), generator=draw) for n in COUNTS]
    each = [{"boxes": boxes(n), "labels": one} for n, one in zip(COUNTS, labels, strict=True)]
    return logits.requires_grad_(), boxes(*shape).double(), ops.make_targets(each)


def pairs_of(targets: ops.Targets, sets: int = SETS) -> MatchedPairs:
    indices = [tuple(torch.tensor(part, dtype=torch.int64) for part in one) for one in INDICES]
    return MatchedPairs.of_indices(targets, indices, num_sets=sets)  # type: ignore[arg-type]


def by_hand(
    logits: Tensor,
    targets: ops.Targets,
    overlap: Tensor,
    matched: Callable[[Tensor, Tensor], Tensor],
    other: Callable[[Tensor], Tensor],
) -> Tensor:
    """(A,) sums: `matched` of logit and overlap at a pair's class, `other` elsewhere."""
    labels, sums, at = targets.labels.split(list(COUNTS)), [], {}
    for image, (queries, numbers) in enumerate(INDICES):
        for query, number in zip(queries, numbers, strict=True):
            at[image, query, int(labels[image][number])] = len(at)
    for a in range(SETS):
        terms = [
            matched(logits[a, i, q, c], overlap[a, at[i, q, c]])
            if (i, q, c) in at
            else other(logits[a, i, q, c])
            for i in range(len(COUNTS))
            for q in range(QUERIES)
            for c in range(CLASSES)
        ]
        sums.append(torch.stack(terms).sum())
    return torch.stack(sums)


def assert_same(found: Tensor, expected: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.tensor([1.0, 0.3], dtype=torch.float64)
    one, another = (torch.autograd.grad((weights * x).sum(), logits)[0] for x in (found, expected))
    torch.testing.assert_close(one, another, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("is_given", [False, True])
@pytest.mark.parametrize("is_weight_fixed", [False, True])
def test_varifocal(is_weight_fixed: bool, is_given: bool) -> None:
    logits, boxes, targets = drawn()
    pairs = pairs_of(targets)
    given = torch.rand(SETS, 5, generator=torch.Generator().manual_seed(1)) if is_given else None
    u = pairs.iou_with(boxes) if given is None else given.double()

    def matched(x: Tensor, u: Tensor) -> Tensor:
        p = x.sigmoid()
        return -u * (u * p.log() + (1 - u) * (1 - p).log())

    def other(x: Tensor) -> Tensor:
        p = x.sigmoid()
        return -0.6 * (p.detach() if is_weight_fixed else p) ** 1.5 * (1 - p).log()

    options: dict[str, Any] = {"is_weight_fixed": is_weight_fixed, "overlap": given}
    found = varifocal_loss(logits, boxes, pairs, alpha=0.6, gamma=1.5, **options)
    assert_same(found, by_hand(logits, targets, u, matched, other), logits)


def test_iou_aware_with_an_overlap_of_ones_own() -> None:
    logits, boxes, targets = drawn()
    given = torch.rand(SETS, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    with torch.no_grad():
        given[0, 0] = 0.0

    def matched(x: Tensor, u: Tensor) -> Tensor:
        p = x.sigmoid()
        t = (p.detach() ** 0.3 * u.detach() ** 0.7).clamp(min=0.01)
        return -t * p.log() - (1 - t) * (1 - p).log()

    def other(x: Tensor) -> Tensor:
        return -(x.sigmoid() ** 2) * (1 - x.sigmoid()).log()

    found = iou_aware_loss(logits, boxes, pairs_of(targets), alpha=0.3, overlap=given)
    assert_same(found, by_hand(logits, targets, given.double(), matched, other), logits)


def test_pairs_that_are_given() -> None:
    _, _, targets = drawn()
    pairs = pairs_of(targets, sets=3)
    assert pairs.matches.tolist() == [[3, 0, 1, 2, 0]] * 3
    assert pairs.image_of.tolist() == [0, 0, 0, 2, 2]
    order = [1, 0, 1, 2, 4]
    assert torch.equal(pairs.boxes, targets.boxes[order])
    assert torch.equal(pairs.labels, targets.labels[order])


def test_pairs_of_other_images_are_refused() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="received pairs of 2 images, expected 3"):
        MatchedPairs.of_indices(drawn()[2], [(none, none)] * 2)


def test_pairs_that_share_nothing_are_left_out() -> None:
    _, boxes, targets = drawn()
    boxes[1, 0, 3, :2] += 2  # the first pair of the second set
    pairs = pairs_of(targets)
    left = pairs.overlapping(boxes).matches
    shares = pairs.iou_with(boxes) > 0
    assert not shares[1, 0] and shares.any()
    assert torch.equal(left, pairs.matches.where(shares, -1))


def test_groups_are_taken_one_behind_another() -> None:
    _, _, targets = drawn()
    matches = torch.arange(SETS * 2 * 5).view(SETS, 2, 5) % QUERIES
    pairs = MatchedPairs.of(targets, matches)
    assert torch.equal(pairs.matches, matches.flatten(1))
    assert torch.equal(pairs.labels, targets.labels.repeat(2))
    assert torch.equal(pairs.image_of, targets.image_of.repeat(2))
