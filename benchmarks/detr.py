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

from .problems import COST_BBOX, COST_CLASS, COST_GIOU

Annotations = Sequence[Mapping[str, Tensor]]
Indices = list[tuple[Tensor, Tensor]]
"""Of each image the matched queries and their targets."""


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, annotations: Annotations) -> Indices:
    """Match one layer: costs of all queries of the batch against all targets of the batch.

    Args:
        logits: (B, Q, C + 1).
        boxes: (B, Q, 4), `(cx, cy, w, h)` in [0, 1].
        annotations: of each image.
    """
    probability = logits.flatten(0, 1).softmax(-1)
    predicted = boxes.flatten(0, 1)
    labels = torch.cat([target["labels"] for target in annotations])
    wanted = torch.cat([target["boxes"] for target in annotations])
    cost = COST_BBOX * torch.cdist(predicted, wanted, p=1) - COST_CLASS * probability[:, labels]
    cost = cost - COST_GIOU * generalized_box_iou(_corners(predicted), _corners(wanted))
    counts = [len(target["labels"]) for target in annotations]
    by_image = cost.unflatten(0, boxes.shape[:2]).cpu().split(counts, -1)
    solved = [scipy_assignment(block[image]) for image, block in enumerate(by_image)]
    return [(torch.from_numpy(rows), torch.from_numpy(columns)) for rows, columns in solved]


class Criterion:
    """The losses of every layer: classes, boxes, generalised IoU, cardinality.

    Args:
        num_classes: C, without "no object".
        eos_coef: weight of "no object".
        device: of the predictions.
    """

    def __init__(self, num_classes: int, eos_coef: float, device: str) -> None:
        self.num_classes = num_classes
        self.weight = torch.ones(num_classes + 1, device=device)
        self.weight[-1] = eos_coef

    def __call__(
        self, logits: Tensor, boxes: Tensor, annotations: Annotations
    ) -> dict[str, Tensor]:
        """Losses of (A, B, Q, C + 1) logits and (A, B, Q, 4) boxes under DETR's names."""
        count = torch.tensor(
            [float(sum(len(target["labels"]) for target in annotations))], device=boxes.device
        )
        num_boxes = count.clamp(min=1).item()
        last = len(logits) - 1
        losses: dict[str, Tensor] = {}
        for layer, (layer_logits, layer_boxes) in enumerate(zip(logits, boxes, strict=True)):
            indices = match(layer_logits, layer_boxes, annotations)
            found = self._labels(layer_logits, annotations, indices)
            found |= self._boxes(layer_boxes, annotations, indices, num_boxes)
            ending = "" if layer == last else f"_{layer}"
            losses |= {f"{name}{ending}": loss for name, loss in found.items()}
        return losses

    def _labels(
        self, logits: Tensor, annotations: Annotations, indices: Indices
    ) -> dict[str, Tensor]:
        place = _places(indices)
        matched = torch.cat(
            [
                target["labels"][chosen]
                for target, (_, chosen) in zip(annotations, indices, strict=True)
            ]
        )
        wanted = torch.full(logits.shape[:2], self.num_classes, device=logits.device)
        wanted[place] = matched
        loss = functional.cross_entropy(logits.transpose(1, 2), wanted, self.weight.to(logits))
        counts = torch.tensor([len(t["labels"]) for t in annotations], device=logits.device)
        objects = (logits.argmax(-1) != self.num_classes).sum(1)
        cardinality = functional.l1_loss(objects.float(), counts.float())
        return {"loss_ce": loss, "cardinality_error": cardinality.detach()}

    def _boxes(
        self, boxes: Tensor, annotations: Annotations, indices: Indices, num_boxes: float
    ) -> dict[str, Tensor]:
        predicted = boxes[_places(indices)]
        wanted = torch.cat(
            [
                target["boxes"][chosen]
                for target, (_, chosen) in zip(annotations, indices, strict=True)
            ]
        )
        giou = generalized_box_iou(_corners(predicted), _corners(wanted)).diag()
        distance = functional.l1_loss(predicted, wanted, reduction="sum")
        return {
            "loss_bbox": distance / num_boxes,
            "loss_giou": (1 - giou).sum() / num_boxes,
        }


def _places(indices: Indices) -> tuple[Tensor, Tensor]:
    """Image and query of every matched pair."""
    images = [torch.full_like(queries, image) for image, (queries, _) in enumerate(indices)]
    return torch.cat(images), torch.cat([queries for queries, _ in indices])


def _corners(boxes: Tensor) -> Tensor:
    corners: Tensor = box_convert(boxes, "cxcywh", "xyxy")
    return corners
