"""DETR's matcher and criterion as its users run them, with E2E-VLP's attributes.

Carion et al. (ECCV 2020), eq. 1 and 2; Xu et al. (ACL 2021), section 3.1.3. Layer after layer, costs
of all queries of the batch against all of its boxes, solved by SciPy on the host. The classes and
boxes are those of `benchmarks/detr.py`; what a decoder layer says has losses of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_convert, generalized_box_iou

from ..detr import EOS_COEF, Indices
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


@torch.no_grad()
def _match(
    logits: Tensor, boxes: Tensor, attributes: Tensor | None, annotations: list[Annotation]
) -> Indices:
    """Of each picture the queries and boxes that belong together."""
    wanted = torch.cat([x["boxes"] for x in annotations])
    predicted = boxes.flatten(0, 1)
    labels = torch.cat([x["labels"] for x in annotations])
    probability = logits.flatten(0, 1).softmax(-1)
    cost = COST_BBOX * torch.cdist(predicted, wanted, p=1) - COST_CLASS * probability[:, labels]
    cost = cost - COST_GIOU * generalized_box_iou(_corners(predicted), _corners(wanted))
    if attributes is not None:
        names = torch.cat([x["attributes"] for x in annotations])
        named = attributes.flatten(0, 1).softmax(-1)[:, names.clamp(min=0)]
        cost = cost - COST_ATTRIBUTE * named * (names >= 0)
    counts = [len(x["labels"]) for x in annotations]
    by_picture = cost.unflatten(0, boxes.shape[:2]).cpu().split(counts, -1)
    solved = [scipy_assignment(block[picture]) for picture, block in enumerate(by_picture)]
    return [(torch.from_numpy(rows), torch.from_numpy(columns)) for rows, columns in solved]


def _loss(
    logits: Tensor,
    boxes: Tensor,
    attributes: Tensor | None,
    annotations: list[Annotation],
    indices: Indices,
    num_boxes: float,
) -> Tensor:
    """Of one layer."""
    pictures = [torch.full_like(queries, number) for number, (queries, _) in enumerate(indices)]
    place = (torch.cat(pictures), torch.cat([queries for queries, _ in indices]))
    chosen = lambda key: torch.cat(
        [x[key][at] for x, (_, at) in zip(annotations, indices, strict=True)]
    )
    total = COST_CLASS * _class_loss(logits, place, chosen("labels"))
    predicted, wanted = boxes[place], chosen("boxes")
    distance = functional.l1_loss(predicted, wanted, reduction="sum") / num_boxes
    giou = generalized_box_iou(_corners(predicted), _corners(wanted)).diag()
    total = total + COST_BBOX * distance + COST_GIOU * (1 - giou).sum() / num_boxes
    if attributes is not None:
        names = chosen("attributes")
        summed = functional.cross_entropy(
            attributes[place], names, ignore_index=-1, reduction="sum"
        )
        total = total + COST_ATTRIBUTE * summed / (names >= 0).sum().clamp(min=1)
    return total


def _class_loss(logits: Tensor, place: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    nothing = logits.shape[-1] - 1
    weight = torch.ones_like(logits[0, 0])
    weight[-1] = EOS_COEF
    wanted = torch.full(logits.shape[:2], nothing, device=logits.device)
    wanted[place] = labels
    return functional.cross_entropy(logits.transpose(1, 2), wanted, weight)


def _corners(boxes: Tensor) -> Tensor:
    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners
