"""DETR's matcher and criterion as its users run them: eager, layer by layer, SciPy on the host.

Carion et al. (ECCV 2020), section 3.1, eq. 1 and 2, restated from the paper and from the contract
of `vlp_fast.SetCriterion`. Where DETR waits for the device, this does too: that is what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_convert, generalized_box_iou

from .scenes import COST_BBOX, COST_CLASS, COST_GIOU, Scene

Indices = list[tuple[Tensor, Tensor]]
"""Of each image the matched queries and their targets."""
EOS_COEF = 0.1
"""Weight of "no object"."""


def match(scene: Scene) -> list[Indices]:
    """Match layer after layer."""
    layers = zip(scene.logits, scene.boxes, strict=True)
    return [match_layer(logits, boxes, scene.annotations) for logits, boxes in layers]


def read(_: Scene, solution: list[Indices]) -> Tensor:
    """The query of each target at each layer, (A, T)."""
    return torch.stack([torch.cat([q[t.argsort()] for q, t in layer]) for layer in solution])


def losses(scene: Scene, logits: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """Of all layers, under DETR's names: classes, boxes, generalised IoU, cardinality.

    Args:
        scene: with the annotations.
        logits: (A, B, Q, C + 1).
        boxes: (A, B, Q, 4), `(cx, cy, w, h)`.
    """
    count = torch.tensor([float(sum(scene.counts))], device=boxes.device)
    num_boxes = count.clamp(min=1).item()
    found: dict[str, Tensor] = {}
    for layer, (of_logits, of_boxes) in enumerate(zip(logits, boxes, strict=True)):
        indices = match_layer(of_logits, of_boxes, scene.annotations)
        labels = [t["labels"][at] for t, (_, at) in zip(scene.annotations, indices, strict=True)]
        wanted = [t["boxes"][at] for t, (_, at) in zip(scene.annotations, indices, strict=True)]
        images = [torch.full_like(queries, image) for image, (queries, _) in enumerate(indices)]
        place = (torch.cat(images), torch.cat([queries for queries, _ in indices]))
        of_layer = {"loss_ce": class_loss(of_logits, place, torch.cat(labels))}
        of_layer["cardinality_error"] = _cardinality_error(scene, of_logits)
        of_layer |= box_losses(of_boxes[place], torch.cat(wanted), num_boxes)
        ending = "" if layer == len(logits) - 1 else f"_{layer}"
        found |= {f"{name}{ending}": loss for name, loss in of_layer.items()}
    return found


@torch.no_grad()
def match_layer(
    logits: Tensor,
    boxes: Tensor,
    annotations: Sequence[Mapping[str, Tensor]],
    other_costs: Tensor | float = 0.0,
) -> Indices:
    """Costs of all queries of the batch against all targets of the batch, solved image by image.

    Args:
        logits: (B, Q, C + 1) of one layer.
        boxes: (B, Q, 4), `(cx, cy, w, h)`.
        annotations: of each image `labels` (n,) and `boxes` (n, 4).
        other_costs: (B * Q, T), added to DETR's.
    """
    probability, predicted = logits.flatten(0, 1).softmax(-1), boxes.flatten(0, 1)
    labels = torch.cat([target["labels"] for target in annotations])
    wanted = torch.cat([target["boxes"] for target in annotations])
    cost = COST_BBOX * torch.cdist(predicted, wanted, p=1) - COST_CLASS * probability[:, labels]
    cost = cost - COST_GIOU * generalized_box_iou(_corners(predicted), _corners(wanted))
    counts = [len(target["labels"]) for target in annotations]
    by_image = (cost + other_costs).unflatten(0, boxes.shape[:2]).cpu().split(counts, -1)
    solved = [scipy_assignment(block[image]) for image, block in enumerate(by_image)]
    return [(torch.from_numpy(rows), torch.from_numpy(columns)) for rows, columns in solved]


def class_loss(logits: Tensor, place: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Weighted cross entropy of (B, Q, C + 1), whose queries at `place` have the labels (T,)."""
    nothing = logits.shape[-1] - 1
    weight = torch.ones_like(logits[0, 0])
    weight[-1] = EOS_COEF
    wanted = torch.full(logits.shape[:2], nothing, device=logits.device)
    wanted[place] = labels
    return functional.cross_entropy(logits.transpose(1, 2), wanted, weight)


def box_losses(predicted: Tensor, wanted: Tensor, num_boxes: float) -> dict[str, Tensor]:
    """L1 and generalised IoU of matched boxes (T, 4), `(cx, cy, w, h)`."""
    giou = generalized_box_iou(_corners(predicted), _corners(wanted)).diag()
    distance = functional.l1_loss(predicted, wanted, reduction="sum")
    return {"loss_bbox": distance / num_boxes, "loss_giou": (1 - giou).sum() / num_boxes}


def _cardinality_error(scene: Scene, logits: Tensor) -> Tensor:
    counts = torch.tensor(scene.counts, device=logits.device).float()
    objects = (logits.argmax(-1) != logits.shape[-1] - 1).sum(1).float()
    return functional.l1_loss(objects, counts).detach()


def _corners(boxes: Tensor) -> Tensor:
    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners
