"""docTR's loss of rotated boxes beside ours: their overlap is given to matching and class loss.

Its package needs eleven others, OpenCV and ONNX among them, to be imported at all: this runs where
somebody has installed it.
"""

from typing import Any

import pytest
import torch
from other_detectors import QUERIES, annotations, assert_same, predictions
from torch import Tensor

from vlp_fast import HungarianMatcher, ops
from vlp_fast.layers.class_losses import iou_aware_loss
from vlp_fast.layers.matched_pairs import MatchedPairs

theirs = pytest.importorskip(
    "doctr.models.layout.lw_detr.pytorch", reason="needs python-doctr and eleven packages besides"
)


def turned(boxes: Tensor, seed: int) -> Tensor:
    """(..., 4) boxes with the sine and cosine of an angle, (..., 6)."""
    draw = torch.Generator().manual_seed(seed)
    angle = 3 * torch.rand(*boxes.shape[:-1], 1, generator=draw)
    return torch.cat([boxes.float(), angle.sin(), angle.cos()], -1)


@pytest.mark.parametrize("counts", [[3, 1, 2], [0, 4], [0, 0], [QUERIES + 2, 1]])
def test_losses(counts: list[int]) -> None:
    logits, plain = predictions(1, len(counts), QUERIES, seed=2)
    leaves = logits[0].detach().float().requires_grad_(), turned(plain.detach()[0], 7)
    leaves[1].requires_grad_()
    targets = [{**one, "boxes": turned(one["boxes"], 8)} for one in annotations(counts)]
    expected = theirs.LWDETR.compute_loss(None, *leaves, targets)
    assert_same({"loss": expected}, {"loss": loss(*leaves, targets)}, leaves, 1e-4)


def loss(logits: Tensor, boxes: Tensor, targets: list[dict[str, Any]]) -> Tensor:
    packed = ops.make_targets([{**one, "boxes": one["boxes"][:, :4]} for one in targets])
    wanted = torch.cat([one["boxes"] for one in targets])
    each = zip(boxes.detach()[packed.image_of], wanted, strict=True)
    overlaps = [theirs._probiou(b, t[None], pairwise=True, scale=1024)[:, 0] for b, t in each]
    overlaps = torch.stack(overlaps) if len(wanted) else boxes.new_zeros(0, QUERIES)
    given = logits[None], boxes[None, ..., :4].contiguous()
    matcher = HungarianMatcher(2, 5, 0, class_cost="focal")
    matches = matcher.match(given[0], given[1], None, packed, extra_cost=-2 * overlaps[None])
    pairs = MatchedPairs.of(packed, matches)
    exists = matches[0] >= 0
    matched = boxes[packed.image_of, matches[0].clamp(min=0)]
    overlap = theirs._probiou(matched, wanted, scale=1024)
    classes = iou_aware_loss(*given, pairs, overlap=overlap.clamp(0, 1)[None])
    distance = pairs.box_losses(given[1])[0]
    rotated = (1 - overlap).masked_fill(~exists, 0).sum()
    return (classes[0] + 5 * distance[0] + 2 * rotated) / max(len(wanted), 1)
