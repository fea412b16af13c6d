"""Class losses of the DETR family in which no logit stands for "no object".

Each is a sum over all queries and classes. It is computed as if nothing were there, and then
corrected at the matched queries: no tensor of targets as large as the logits is made.

Shape suffixes: A sets of queries, B images, Q queries, C classes, T targets.
"""

import torch.nn.functional as F
from torch import Tensor

from vlp_fast.layers.matched_pairs import MatchedPairs
from vlp_fast.reference.precision import widen

LEAST_QUALITY = 0.01
"""Of a matched query in `iou_aware_loss`."""


def focal_loss(
    logits: Tensor, pairs: MatchedPairs, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Computes the focal loss of every class as a yes or no, summed.

    With p the sigmoid of a logit: `-alpha (1 - p)^gamma log p` at a matched query's class,
    `-(1 - alpha) p^gamma log(1 - p)` elsewhere.

    Args:
        logits: (A, B, Q, C) floating point.
        pairs: of A sets.
        alpha: weight of matched classes, 1 less it of the others; below 0 both weigh 1.
        gamma: exponent.

    Returns:
        (A,) float32, or float64 if the logits are.

    Source: Lin et al. 2017, eq. 5; Deformable DETR (Zhu et al. 2021).
    """
    yes, no = (alpha, 1 - alpha) if alpha >= 0 else (1.0, 1.0)

    def nothing(x: Tensor) -> Tensor:
        return no * x.sigmoid() ** gamma * F.softplus(x)

    at, exists = pairs.logits_at(logits)
    matched = yes * (-at).sigmoid() ** gamma * F.softplus(-at)
    return _corrected(nothing(widen(logits)), matched - nothing(at), exists)


def varifocal_loss(
    logits: Tensor,
    boxes: Tensor,
    pairs: MatchedPairs,
    *,
    alpha: float = 0.75,
    gamma: float = 2.0,
    overlap: Tensor | None = None,
    is_weight_fixed: bool = True,
) -> Tensor:
    """Computes the varifocal loss, summed: a matched query's class is asked for its IoU.

    With p the sigmoid of a logit and u the IoU of a matched box with its target:
    `-u (u log p + (1 - u) log(1 - p))` at a matched query's class, `-alpha p^gamma log(1 - p)`
    elsewhere; u has no gradient.

    Args:
        logits: (A, B, Q, C) floating point.
        boxes: (A, B, Q, 4), `(cx, cy, w, h)` in [0, 1].
        pairs: of A sets.
        alpha: weight of classes that are not matched.
        gamma: exponent.
        overlap: (A, T) u of each pair, in place of the IoU of their boxes.
        is_weight_fixed: whether `p^gamma` has no gradient, as in RT-DETR; it has one in the paper's
            own code, Ultralytics and RF-DETR.

    Returns:
        (A,) float32, or float64 if the logits are.

    Source: Zhang et al. 2021, eq. 2, as RT-DETR (Zhao et al. 2024) has it.
    """

    def nothing(x: Tensor) -> Tensor:
        weighed = x.detach() if is_weight_fixed else x
        return alpha * weighed.sigmoid() ** gamma * F.softplus(x)

    at, exists = pairs.logits_at(logits)
    quality = _overlap(overlap, boxes, pairs).to(at.dtype)
    matched = quality * (F.softplus(at) - quality * at)
    return _corrected(nothing(widen(logits)), matched - nothing(at), exists)


def iou_aware_loss(
    logits: Tensor,
    boxes: Tensor,
    pairs: MatchedPairs,
    *,
    alpha: float = 0.25,
    overlap: Tensor | None = None,
) -> Tensor:
    """Computes the IoU-aware cross entropy, summed.

    With p the sigmoid of a logit, u the IoU of a matched box with its target and
    `t = max(p^alpha u^(1 - alpha), 0.01)`: `-t log p - (1 - t) log(1 - p)` at a matched query's
    class, `-p^2 log(1 - p)` elsewhere; t has no gradient.

    Args:
        logits: (A, B, Q, C) floating point.
        boxes: (A, B, Q, 4), `(cx, cy, w, h)` in [0, 1].
        pairs: of A sets.
        alpha: share of the probability in t.
        overlap: (A, T) u of each pair, in place of the IoU of their boxes: of masks, of rotated
            boxes.

    Returns:
        (A,) float32, or float64 if the logits are.

    Source: Align-DETR (Cai et al. 2023), as LW-DETR (Chen et al. 2024) has it.
    """

    def nothing(x: Tensor) -> Tensor:
        return x.sigmoid() ** 2 * F.softplus(x)

    at, exists = pairs.logits_at(logits)
    shared = _overlap(overlap, boxes, pairs).to(at.dtype)
    quality = at.detach().sigmoid() ** alpha * shared ** (1 - alpha)
    quality = quality.clamp(min=LEAST_QUALITY)
    matched = quality * F.softplus(-at) + (1 - quality) * F.softplus(at)
    return _corrected(nothing(widen(logits)), matched - nothing(at), exists)


def _overlap(given: Tensor | None, boxes: Tensor, pairs: MatchedPairs) -> Tensor:
    """(A, T) without a gradient: what is given, or the IoU of the pairs' boxes."""
    return pairs.iou_with(boxes) if given is None else given.detach()


def _corrected(everywhere: Tensor, correction: Tensor, exists: Tensor) -> Tensor:
    return everywhere.flatten(1).sum(1) + correction.masked_fill(~exists, 0.0).sum(1)
