"""Set losses of detection: class, box and attribute terms for every decoder layer in one call.

DETR (ECCV 2020), section 3.1 and appendix A.2; E2E-VLP (ACL 2021), section 3.1.3. Weights between
the terms belong to the caller. Plain differentiable torch without a wait for the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vlp_fast.ops.targets import Targets
from vlp_fast.reference import losses as reference


@dataclass(frozen=True, kw_only=True, eq=False)
class SetLosses:
    """Terms of the detection loss of each of A decoder layers: (A,) float32 each, unweighted."""

    class_loss: Tensor
    bbox_loss: Tensor
    giou_loss: Tensor
    attribute_loss: Tensor


def set_losses(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    matches: Tensor,
    *,
    attribute_logits: Tensor | None = None,
    eos_coef: float = 0.1,
    class_weight: Tensor | None = None,
    num_boxes: float | Tensor | None = None,
) -> SetLosses:
    """Compute DETR's losses between matched predictions and targets.

    The class term is the weighted mean cross entropy over all queries, with weight `eos_coef` where
    the target is "no object"; the box terms are L1 and `1 - GIoU` over the matched pairs, summed
    and divided by `num_boxes`; the attribute term is the mean cross entropy over the matched
    targets that have an attribute.

    Args:
        logits: (A, B, Q, C + 1) floating point, the last class is "no object".
        boxes: (A, B, Q, 4), `(cx, cy, w, h)` in [0, 1].
        targets: the T boxes of the batch.
        matches: (A, T) int64 of `match`: query of each target, -1 for none.
        attribute_logits: (A, B, Q, R + 1), R the attributes; the last is "no attribute", which no
            target has. `None` for a term of 0.
        eos_coef: weight of the class "no object"; the others weigh 1.
        class_weight: (C + 1,) weights of all classes, instead of `eos_coef`.
        num_boxes: divisor of the box terms; `None` means T. With several processes, pass the mean
            of T over them. Below 1 counts as 1.

    Returns:
        `SetLosses`; float64 if the inputs are.

    Raises:
        ValueError: the shapes disagree.

    Source: DETR, eq. 2 and `SetCriterion` of its public code.
    """
    _check(logits, boxes, targets, matches, attribute_logits)
    if class_weight is not None and class_weight.shape != logits.shape[-1:]:
        raise ValueError(
            f"set_losses: received class_weight {tuple(class_weight.shape)}, expected "
            f"({logits.shape[-1]},), one for each logit"
        )
    image_of = targets.image_of
    bbox, giou = reference.box_losses(boxes, targets.boxes, image_of, matches)
    divisor = _at_least_one(targets.boxes.shape[0] if num_boxes is None else num_boxes)
    return SetLosses(
        class_loss=reference.class_loss(
            logits, targets.labels, image_of, matches, eos_coef, class_weight
        ),
        bbox_loss=bbox / divisor,
        giou_loss=giou / divisor,
        attribute_loss=torch.zeros_like(bbox)
        if attribute_logits is None
        else reference.attribute_loss(attribute_logits, targets.attributes, image_of, matches),
    )


def _at_least_one(number: float | Tensor) -> float | Tensor:
    return number.clamp(min=1) if isinstance(number, Tensor) else max(float(number), 1.0)


def _check(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    matches: Tensor,
    attribute_logits: Tensor | None,
) -> None:
    queries = tuple(logits.shape[:3])
    if logits.ndim != 4 or tuple(boxes.shape) != (*queries, 4):
        raise ValueError(
            f"set_losses: received logits {tuple(logits.shape)} and boxes {tuple(boxes.shape)}, "
            "expected (A, B, Q, C + 1) and (A, B, Q, 4)"
        )
    if attribute_logits is not None and tuple(attribute_logits.shape[:3]) != queries:
        raise ValueError(
            f"set_losses: received attribute_logits {tuple(attribute_logits.shape)}, expected "
            f"{queries} and the attributes"
        )
    expected = (queries[0], targets.boxes.shape[0])
    if tuple(matches.shape) != expected or len(targets.counts) != queries[1]:
        raise ValueError(
            f"set_losses: received matches {tuple(matches.shape)} and targets of "
            f"{len(targets.counts)} images, expected {expected} and {queries[1]}"
        )
