"""Matching predictions to targets in plain torch: DETR's cost, and SciPy's assignment.

Differences from the public DETR code: a target is compared with the queries of its own image only,
all decoder layers go together, the class probability is taken at the labels instead of after a
softmax over all classes, an attribute term can be added, and no value can make a cost non-finite.
"""

from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor

from vlp_fast.reference.boxes import cxcywh_to_xyxy, giou
from vlp_fast.reference.precision import widen

# Cost of a query whose logits or box are not finite: beyond any finite prediction, and far from
# where float32 loses the differences between the others.
WORST_COST = 1e6


def matching_cost(
    logits: Tensor,
    boxes: Tensor,
    target_boxes: Tensor,
    target_labels: Tensor,
    target_attributes: Tensor,
    image_of: Tensor,
    attribute_logits: Tensor | None,
    cost_class: float,
    cost_bbox: float,
    cost_giou: float,
    cost_attribute: float,
) -> Tensor:
    """Cost of each target against the queries of its image: (A, T, Q) float32, finite."""
    boxes = widen(boxes)[:, image_of]
    targets = target_boxes.to(boxes.dtype)[None, :, None]
    cost = cost_bbox * (boxes - targets).abs().sum(-1)
    cost = cost - cost_giou * giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(targets))
    cost = cost - cost_class * _probability(logits, image_of, target_labels)
    if attribute_logits is not None:
        known = (target_attributes >= 0)[None, :, None]
        probability = _probability(attribute_logits, image_of, target_attributes.clamp(min=0))
        cost = cost - torch.where(known, cost_attribute * probability, 0.0)
    cost = cost.nan_to_num(nan=WORST_COST, posinf=WORST_COST, neginf=WORST_COST)
    return cost.clamp(-WORST_COST, WORST_COST).float()


def assign_targets(cost: Tensor, cu_targets: Tensor) -> Tensor:
    """Assign the targets of each image and layer to queries by SciPy, on the host: (A, T)."""
    bounds = cu_targets.tolist()
    host = cost.double().cpu().numpy()
    matches = np.full(host.shape[:2], -1, dtype=np.int64)
    for layer, layer_matches in zip(host, matches, strict=True):
        for start, stop in pairwise(bounds):
            targets, queries = scipy_assignment(layer[start:stop])
            layer_matches[start + targets] = queries
    return torch.from_numpy(matches).to(cost.device)


def assign(cost: Tensor, maximize: bool) -> tuple[Tensor, Tensor]:
    """Assign rows to columns of each matrix by SciPy, on the host: (B, n, m) to (B, min(n, m))."""
    host = cost.double().cpu().numpy()
    pairs = np.empty((2, len(host), min(host.shape[1:])), dtype=np.int64)
    for number, matrix in enumerate(host):
        pairs[:, number] = scipy_assignment(matrix, maximize=maximize)
    rows, columns = torch.from_numpy(pairs).to(cost.device)
    return rows.clone(), columns.clone()


def _probability(logits: Tensor, image_of: Tensor, labels: Tensor) -> Tensor:
    """Softmax probability of each target's label at each query of its image: (A, T, Q)."""
    wide = widen(logits)
    normaliser = wide.logsumexp(-1)[:, image_of]
    return (wide[:, image_of, :, labels].transpose(0, 1) - normaliser).exp()
