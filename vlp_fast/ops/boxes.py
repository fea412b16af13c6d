"""Box algebra for everyone above the operators; elementwise torch, so there is one backend.

Boxes are `(..., 4)`: `(cx, cy, w, h)` or `(x1, y1, x2, y2)` with y downwards, in any one unit
(fractions of the image, or pixels). Differentiable, and finite for empty and inverted boxes.
"""

from vlp_fast.reference.boxes import (
    box_area,
    cxcywh_to_xyxy,
    giou,
    iou,
    pairwise_giou,
    pairwise_iou,
    xyxy_to_cxcywh,
)

__all__ = [
    "box_area",
    "cxcywh_to_xyxy",
    "giou",
    "iou",
    "pairwise_giou",
    "pairwise_iou",
    "xyxy_to_cxcywh",
]
