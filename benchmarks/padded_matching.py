"""Matching all layers as one padded batch: the best that composes existing operators.

Targets are padded to the most that an image has, decoder layers are stacked, generalised IoU and L1
are broadcast, or L1 is of `cdist`, which is faster where nothing is compiled; the composition that
RF-DETR arrived at, written from its description. The solver is torch-linear-assignment on a GPU
where it is installed, and SciPy otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .peers import TORCH_LINEAR_ASSIGNMENT
from .scenes import COST_BBOX, COST_CLASS, COST_GIOU, Scene


@torch.no_grad()
def match(cost_of: Callable[..., Tensor], scene: Scene) -> Tensor:
    """Query of each target, (A, B, N); anything on padding."""
    cost = cost_of(scene.logits, scene.boxes, *pad(scene))
    on_gpu = TORCH_LINEAR_ASSIGNMENT.load() if cost.is_cuda else None
    matches: Tensor = (on_gpu or _by_scipy)(cost.flatten(0, 1)).unflatten(0, cost.shape[:2])
    return matches


def solver_name(device: str) -> str:
    """Who solves batches of matrices."""
    on_gpu = device == "cuda" and TORCH_LINEAR_ASSIGNMENT.load() is not None
    return TORCH_LINEAR_ASSIGNMENT.distribution if on_gpu else "SciPy"


def read(scene: Scene, matches: Tensor) -> Tensor:
    """Drop the padding: (A, T)."""
    return matches[:, pad(scene)[2]]


def pad(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (B, N, 4) and labels (B, N) of the targets, and which are some: (B, N) bool."""
    boxes, labels = ([one[key] for one in scene.annotations] for key in ("boxes", "labels"))
    padded = (pad_sequence(boxes, batch_first=True), pad_sequence(labels, batch_first=True))
    return (*padded, is_row(scene.counts).to(scene.boxes.device, non_blocking=True))


def is_row(counts: Sequence[int]) -> Tensor:
    """(B, most) bool: which rows of a padded batch are some, on the host."""
    return torch.arange(max(counts)) < torch.tensor(counts)[:, None]


def cost(
    logits: Tensor, boxes: Tensor, targets: Tensor, labels: Tensor, is_target: Tensor
) -> Tensor:
    """DETR's cost (A, B, N, Q) of each target against its image's queries; 0 on padding.

    Args:
        logits: (A, B, Q, C + 1).
        boxes: (A, B, Q, 4), `(cx, cy, w, h)`.
        targets: (B, N, 4).
        labels: (B, N).
        is_target: (B, N) bool.
    """
    distance = (boxes[:, :, None] - targets[None, :, :, None]).abs().sum(-1)
    return _total(distance, logits, boxes, targets, labels, is_target)


def cost_by_cdist(logits: Tensor, boxes: Tensor, targets: Tensor, *rest: Tensor) -> Tensor:
    """The same with the L1 distance from `torch.cdist`."""
    distance = torch.cdist(targets.expand(len(boxes), -1, -1, -1), boxes, p=1)
    return _total(distance, logits, boxes, targets, *rest)


def _total(
    distance: Tensor,
    logits: Tensor,
    boxes: Tensor,
    targets: Tensor,
    labels: Tensor,
    is_target: Tensor,
) -> Tensor:
    layers, queries = logits.shape[0], logits.shape[2]
    places = labels[None, :, None].expand(layers, -1, queries, -1)
    probability = logits.softmax(-1).gather(-1, places).transpose(2, 3)
    giou = _giou(boxes[:, :, None], targets[None, :, :, None])
    total = COST_BBOX * distance - COST_CLASS * probability - COST_GIOU * giou
    return total.where(is_target[None, :, :, None], 0.0)


def _by_scipy(cost: Tensor) -> Tensor:
    found = [scipy_assignment(matrix)[1] for matrix in cost.cpu().numpy()]
    return torch.from_numpy(np.stack(found)).to(cost.device)


def _giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of boxes `(cx, cy, w, h)` that broadcast against one another."""
    low1, high1 = first[..., :2] - first[..., 2:] / 2, first[..., :2] + first[..., 2:] / 2
    low2, high2 = second[..., :2] - second[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2
    inside = (torch.minimum(high1, high2) - torch.maximum(low1, low2)).clamp(min=0).prod(-1)
    around = (torch.maximum(high1, high2) - torch.minimum(low1, low2)).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - inside
    return inside / union - (around - union) / around
