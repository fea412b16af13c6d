"""Box algebra: intersection over union and its generalisation (Rezatofighi et al., 2019).

Boxes are `(..., 4)` and broadcast. Unlike the public DETR code nothing is asserted on values, which
would wait for the device: an inverted or empty box has area 0, and every ratio stays finite.
"""

import torch
from torch import Tensor

from vlp_fast.reference.precision import widen

# Below this area (of the unit square, or square pixels) a box is a point or a line.
SMALLEST_AREA = 1e-12


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Turn `(cx, cy, w, h)` into `(x1, y1, x2, y2)`, in the same unit."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Turn `(x1, y1, x2, y2)` into `(cx, cy, w, h)`, in the same unit."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def box_area(boxes: Tensor) -> Tensor:
    """Area of `(x1, y1, x2, y2)` boxes: `(..., 4)` to `(...)`, 0 where a side is negative."""
    sides = boxes[..., 2:] - boxes[..., :2]
    # Not clamp, whose gradient at 0 is 1 in PyTorch 2.11 and another in 2.14: a line may widen.
    return sides.masked_fill(sides < 0, 0.0).prod(dim=-1)


def iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Intersection over union of `(x1, y1, x2, y2)` boxes, pair by pair under broadcasting.

    Half-precision boxes are computed in float32. The ratio is 0 where both boxes are empty.
    """
    return _overlap(widen(boxes1), widen(boxes2))[0]


def giou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Generalised IoU of `(x1, y1, x2, y2)` boxes, in (-1, 1], pair by pair under broadcasting.

    `iou - (hull - union) / hull`, where the hull is the smallest box around both. Half-precision
    boxes are computed in float32; two equal points give 0.
    """
    boxes1, boxes2 = widen(boxes1), widen(boxes2)
    ratio, union = _overlap(boxes1, boxes2)
    low = torch.minimum(boxes1[..., :2], boxes2[..., :2])
    high = torch.maximum(boxes1[..., 2:], boxes2[..., 2:])
    hull = (high - low).clamp(min=0).prod(dim=-1)
    return ratio - _ratio(hull - union, hull)


def pairwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """IoU of all pairs: `(..., N, 4)`, `(..., M, 4)` to `(..., N, M)`, as `iou`."""
    return iou(boxes1.unsqueeze(-2), boxes2.unsqueeze(-3))


def pairwise_giou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Generalised IoU of all pairs: `(..., N, 4)`, `(..., M, 4)` to `(..., N, M)`, as `giou`."""
    return giou(boxes1.unsqueeze(-2), boxes2.unsqueeze(-3))


def _overlap(boxes1: Tensor, boxes2: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(boxes1[..., :2], boxes2[..., :2])
    high = torch.minimum(boxes1[..., 2:], boxes2[..., 2:])
    intersection = (high - low).clamp(min=0).prod(dim=-1)
    union = box_area(boxes1) + box_area(boxes2) - intersection
    return _ratio(intersection, union), union


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    # Clamping the denominator instead would keep the value finite but not its gradient.
    return part / torch.where(whole > SMALLEST_AREA, whole, 1.0)
