"""DETR's set losses in plain torch, for all decoder layers at once and without a wait.

Differences from the public code: one call covers every layer, unmatched targets are masked instead
of indexed away, and an attribute term is added (Visual Genome annotates attributes).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vlp_fast.reference.boxes import cxcywh_to_xyxy, giou
from vlp_fast.reference.precision import widen


def class_loss(
    logits: Tensor,
    labels: Tensor,
    image_of: Tensor,
    matches: Tensor,
    eos_coef: float,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Weighted mean cross entropy of all queries: (A,). The last class is "no object".

    The weights are `class_weight` (C + 1,), or `eos_coef` for "no object" and 1 for the others.
    """
    layers, images, queries, classes = logits.shape
    wide = widen(logits)
    # Unmatched targets write to a place of their own at the end, which is cut off. So do labels
    # without a logit: on a GPU their index would end the process.
    is_placed = (matches >= 0) & (labels >= 0) & (labels < classes)
    place = torch.where(is_placed, image_of * queries + matches, images * queries)
    target = place.new_full((layers, images * queries + 1), classes - 1)
    target = target.scatter(1, place, labels.clamp(0, classes - 1).expand_as(place))[:, :-1]
    picked = wide.log_softmax(-1).flatten(1, 2).gather(2, target[..., None])[..., 0]
    if class_weight is None:
        weight = torch.ones_like(picked).masked_fill(target == classes - 1, eos_coef)
    else:
        weight = class_weight.to(picked.dtype)[target]
    return -(weight * picked).sum(1) / weight.sum(1)


def box_losses(
    boxes: Tensor, target_boxes: Tensor, image_of: Tensor, matches: Tensor
) -> tuple[Tensor, Tensor]:
    """L1 and `1 - GIoU` summed over matched pairs: (A,) each."""
    # An unmatched target is a point, and so is its prediction: its loss and gradient are 0 even
    # where it, or the query in its place, is NaN.
    matched = matches >= 0
    predicted = _at_matches(widen(boxes), image_of, matches)
    targets = target_boxes.to(predicted.dtype).expand_as(predicted)
    predicted = predicted.masked_fill(~matched[..., None], 0.0)
    targets = targets.masked_fill(~matched[..., None], 0.0)
    distance = (predicted - targets).abs().sum((1, 2))
    overlap = giou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(targets))
    return distance, (1 - overlap).masked_fill(~matched, 0.0).sum(1)


def attribute_loss(
    attribute_logits: Tensor, attributes: Tensor, image_of: Tensor, matches: Tensor
) -> Tensor:
    """Mean cross entropy over matched targets with an annotated attribute: (A,), 0 if none.

    An attribute without a logit counts as none.
    """
    exists = (attributes >= 0) & (attributes < attribute_logits.shape[-1])
    labelled = (matches >= 0) & exists
    label = attributes.expand_as(matches).masked_fill(~labelled, -100)
    logits = _at_matches(widen(attribute_logits), image_of, matches)
    loss = F.cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="none")
    return loss.view_as(matches).sum(1) / labelled.sum(1).clamp(min=1)


def _at_matches(predictions: Tensor, image_of: Tensor, matches: Tensor) -> Tensor:
    """Rows of (A, B, Q, X) at the matched queries: (A, T, X), query 0 where there is none."""
    places = image_of * predictions.shape[2] + matches.clamp(min=0)
    index = places[..., None].expand(-1, -1, predictions.shape[3])
    return predictions.flatten(1, 2).gather(1, index)
