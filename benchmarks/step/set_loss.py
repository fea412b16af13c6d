"""DETR's matcher and criterion as its users run them, with E2E-VLP's attributes.

Carion et al. (ECCV 2020), eq. 1 and 2; Xu et al. (ACL 2021), section 3.1.3. Layer after layer;
costs and losses of classes and boxes are those of `benchmarks/detr.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .. import detr
from ..scenes import COST_BBOX, COST_CLASS, COST_GIOU

COST_ATTRIBUTE = 1.0
Annotation = dict[str, Tensor]
"""Of a picture `boxes` (n, 4), `labels` (n,), and `attributes` (n,), -1 where there is none."""
Losses = dict[str, Tensor]


class Predictions(NamedTuple):
    """What A decoder layers say of Q queries of B pictures."""

    logits: Tensor
    """(A, B, Q, C + 1)."""
    boxes: Tensor
    """(A, B, Q, 4), `(cx, cy, w, h)`."""
    attribute_logits: Tensor | None
    """(A, B, Q, R + 1)."""


def set_loss(found: Predictions, annotations: list[Annotation]) -> Tensor:
    """The weighted sum over all layers, in float32."""
    count = torch.tensor([float(sum(len(x["labels"]) for x in annotations))])
    num_boxes = count.to(found.boxes.device).clamp(min=1).item()
    total = found.boxes.new_zeros(())
    for layer in range(len(found.logits)):
        logits, boxes = found.logits[layer].float(), found.boxes[layer].float()
        attributes = None
        if found.attribute_logits is not None:
            attributes = found.attribute_logits[layer].float()
        indices = _match(logits, boxes, attributes, annotations)
        total = total + _loss(logits, boxes, attributes, annotations, indices, num_boxes)
    return total


def _match(
    logits: Tensor, boxes: Tensor, attributes: Tensor | None, annotations: list[Annotation]
) -> detr.Indices:
    """Of each picture the queries and boxes that belong together."""
    if attributes is None:
        return detr.match_layer(logits, boxes, annotations)
    names = torch.cat([x["attributes"] for x in annotations])
    probability = attributes.detach().flatten(0, 1).softmax(-1)[:, names.clamp(min=0)]
    return detr.match_layer(
        logits, boxes, annotations, -COST_ATTRIBUTE * probability * (names >= 0)
    )


def _loss(
    logits: Tensor,
    boxes: Tensor,
    attributes: Tensor | None,
    annotations: list[Annotation],
    indices: detr.Indices,
    num_boxes: float,
) -> Tensor:
    """Of one layer."""
    pictures = [torch.full_like(queries, number) for number, (queries, _) in enumerate(indices)]
    place = (torch.cat(pictures), torch.cat([queries for queries, _ in indices]))

    def chosen(key: str) -> Tensor:
        pairs = zip(annotations, indices, strict=True)
        return torch.cat([one[key][at] for one, (_, at) in pairs])

    total = COST_CLASS * detr.class_loss(logits, place, chosen("labels"))
    of_boxes = detr.box_losses(boxes[place], chosen("boxes"), num_boxes)
    total = total + COST_BBOX * of_boxes["loss_bbox"] + COST_GIOU * of_boxes["loss_giou"]
    if attributes is None:
        return total
    names = chosen("attributes")
    summed = functional.cross_entropy(attributes[place], names, ignore_index=-1, reduction="sum")
    return total + COST_ATTRIBUTE * summed / (names >= 0).sum().clamp(min=1)
