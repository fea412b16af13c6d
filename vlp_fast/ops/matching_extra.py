"""Matching where a cost of the caller's own is added: of masks, of keypoints, of whatever.

The fused operator computes a cost and solves for it in one, and never holds all of it. Here the
cost is written down in PyTorch, the caller's is added, and all images of all layers are solved as
one batch of matrices: several launches and O(A T Q) of memory, several times over.
"""

import torch
from torch import Tensor

from vlp_fast.ops.assignment import _assign
from vlp_fast.ops.targets import Targets
from vlp_fast.reference.matching import WORST_COST


def with_extra(cost: Tensor, is_finite: Tensor, extra_cost: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of two costs, (A, T, Q) float32, and whether each is finite in both.

    What is not finite, on either side, costs as much as anything can.
    """
    total = cost + extra_cost.to(cost.dtype)
    is_finite = is_finite & total.isfinite()
    total = total.clamp(-WORST_COST, WORST_COST)
    return torch.where(is_finite, total, WORST_COST), is_finite


def solved(cost: Tensor, targets: Targets) -> Tensor:
    """The query of each target, (A, T) int64, -1 for those left over; nobody waits for a GPU.

    Args:
        cost: (A, T, Q) float32, finite: each target against the queries of its image.
        targets: the T boxes of B images.
    """
    layers, _, queries = cost.shape
    images, most = len(targets.counts), targets.max_count
    places = torch.arange(cost.shape[1], device=cost.device) - targets.cu_targets[targets.image_of]
    padded = cost.new_zeros(layers, images, most, queries)
    padded[:, targets.image_of, places] = cost
    heights = targets.cu_targets.diff().repeat(layers)
    columns: Tensor = _assign(padded.flatten(0, 1), heights, False)
    return columns.view(layers, images, most)[:, targets.image_of, places]


def images_of(is_bad: Tensor, targets: Targets) -> Tensor:
    """(A, B) bool, whether any of an image's targets is bad, of (A, T) bool."""
    layers = is_bad.shape[0]
    counted = is_bad.new_zeros((layers, len(targets.counts)), dtype=torch.int32)
    return counted.index_add(1, targets.image_of, is_bad.int()) > 0
