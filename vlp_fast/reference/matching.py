"""The cost of matching predictions with targets, in plain torch: DETR's, and Deformable DETR's.

Differences from the public DETR code: a target is compared with the queries of its own image only,
all decoder layers go together, the class probability is taken at the labels instead of after a
softmax over all classes, an attribute term can be added, and no value can make a cost non-finite.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vlp_fast.reference.boxes import cxcywh_to_xyxy, giou
from vlp_fast.reference.precision import widen

# Cost of a query whose logits or box are not finite, to which all others are clipped: beyond what
# boxes in the unit square can cost, and small enough that float64 still tells the others apart in a
# sum with it.
WORST_COST = 1e9


def matching_cost(
    logits: Tensor,
    boxes: Tensor,
    attribute_logits: Tensor | None,
    target_boxes: Tensor,
    labels: Tensor,
    attributes: Tensor,
    image_of: Tensor,
    class_cost: str,
    weights: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Cost of each target against the queries of its image, (A, T, Q) float32; was it finite?

    `weights` are those of class, L1, GIoU and attribute, then alpha and gamma of the focal cost.
    """
    cost_class, cost_bbox, cost_giou, cost_attribute, alpha, gamma = weights
    boxes = widen(boxes)[:, image_of]
    targets = target_boxes.to(boxes.dtype)[None, :, None]
    cost = cost_bbox * (boxes - targets).abs().sum(-1)
    cost = cost - cost_giou * giou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(targets))
    if class_cost == "softmax":
        cost = cost - cost_class * _softmax_at(logits, image_of, labels)
    else:
        wide = widen(logits)
        p = _at(wide.masked_fill(wide == torch.inf, torch.nan).sigmoid(), image_of, labels)
        cost = cost + cost_class * (-p if class_cost == "sigmoid" else _focal(p, alpha, gamma))
    if attribute_logits is not None:
        probability = _softmax_at(attribute_logits, image_of, attributes.clamp(min=0))
        is_known = (attributes >= 0)[None, :, None]
        cost = cost - torch.where(is_known, cost_attribute * probability, 0.0)
    cost = cost.nan_to_num(nan=torch.nan, posinf=torch.nan, neginf=torch.nan)
    is_finite = ~cost.isnan()
    return cost.clamp(-WORST_COST, WORST_COST).nan_to_num(WORST_COST).float(), is_finite


def _focal(p: Tensor, alpha: float, gamma: float) -> Tensor:
    """Loss of a class as a positive, less that as a negative (Deformable DETR's matcher)."""
    positive = -alpha * (1 - p) ** gamma * (p + 1e-8).log()
    negative = -(1 - alpha) * p**gamma * (1 - p + 1e-8).log()
    return positive - negative


def _softmax_at(logits: Tensor, image_of: Tensor, labels: Tensor) -> Tensor:
    """Softmax of each target's label at each query of its image: (A, T, Q), NaN by any +inf."""
    wide = widen(logits)
    normaliser = wide.logsumexp(-1)
    normaliser = torch.where(normaliser.isfinite(), normaliser, torch.nan)[:, image_of]
    return (_at(wide, image_of, labels) - normaliser).exp()


def _at(values: Tensor, image_of: Tensor, labels: Tensor) -> Tensor:
    """(A, B, Q, N) at each target's label: (A, T, Q), NaN where there is no such class."""
    exists = (labels >= 0) & (labels < values.shape[-1])
    chosen = values[:, image_of, :, torch.where(exists, labels, 0)].transpose(0, 1)
    return torch.where(exists[None, :, None], chosen, torch.nan)
