"""Object detection as set prediction (E2E-VLP section 3.1.3, eq. 1; DETR's weights).

Every decoder layer predicts; every layer is matched and has all losses. Class, L1 and GIoU
weigh 1, 5 and 2 as in DETR; attributes weigh 1, and only objects with an annotated attribute
have that loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vlp_fast import ops
from vlp_fast.data.examples import Example
from vlp_fast.ops.boxes import cxcywh_to_xyxy
from vlp_fast.tasks.detection.config import SetLossConfig


@dataclass(frozen=True, kw_only=True)
class DetectionWeights:
    """Weights of the set loss; the matching cost uses the same."""

    classes: float = 1.0
    bbox: float = 5.0
    giou: float = 2.0
    attribute: float = 1.0
    eos: float = 0.1

    @classmethod
    def of(cls, settings: SetLossConfig) -> DetectionWeights:
        """Those that a task's settings say."""
        return cls(
            classes=settings.class_weight,
            bbox=settings.bbox_weight,
            giou=settings.giou_weight,
            attribute=settings.attribute_weight,
            eos=settings.eos_coef,
        )


def detection_targets(examples: list[Example]) -> ops.Targets:
    """Pack the boxes of a batch, image after image."""
    return ops.make_targets([(e.boxes, e.labels, e.attributes) for e in examples])


def detection_loss(
    logits: Tensor,
    boxes: Tensor,
    attribute_logits: Tensor | None,
    targets: ops.Targets,
    weights: DetectionWeights,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The set loss summed over the decoder's layers, and its parts at the last layer.

    Args:
        logits: (A, B, Q, C + 1).
        boxes: (A, B, Q, 4) as (cx, cy, w, h) in [0, 1].
        attribute_logits: (A, B, Q, R + 1) or None.
        targets: packed annotations of the B images.
        weights: of the four parts.
    """
    matches, _ = ops.match(
        logits,
        boxes,
        targets,
        attribute_logits=attribute_logits,
        cost_class=weights.classes,
        cost_bbox=weights.bbox,
        cost_giou=weights.giou,
        cost_attribute=weights.attribute,
    )
    losses = ops.set_losses(
        logits,
        boxes,
        targets,
        matches,
        attribute_logits=attribute_logits,
        eos_coef=weights.eos,
    )
    total = (
        weights.classes * losses.class_loss
        + weights.bbox * losses.bbox_loss
        + weights.giou * losses.giou_loss
        + weights.attribute * losses.attribute_loss
    ).sum()
    parts = {
        "class": losses.class_loss[-1],
        "bbox": losses.bbox_loss[-1],
        "giou": losses.giou_loss[-1],
    }
    if attribute_logits is not None:
        parts["attribute"] = losses.attribute_loss[-1]
    return total, {name: value.detach() for name, value in parts.items()}


def truth(targets: ops.Targets) -> list[tuple[np.ndarray, np.ndarray]]:
    """Boxes (n, 4) as (x1, y1, x2, y2) in [0, 1] and labels (n,) of each image, on the host."""
    boxes = cxcywh_to_xyxy(targets.boxes.float()).cpu().split(targets.counts)
    labels = targets.labels.cpu().split(targets.counts)
    return [(b.numpy(), n.numpy()) for b, n in zip(boxes, labels, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Detections of one image, best first, on the host.

    Attributes:
        boxes: (n, 4) as (x1, y1, x2, y2), in [0, 1] of the image's width and height.
        labels: (n,) class indices.
        scores: (n,) probabilities.
        attributes: (n,) attribute indices, or None.
        attribute_scores: (n,) probabilities of these among all attributes, or None.
        queries: (n,) which of the queries found each, or None.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    attributes: Tensor | None = None
    attribute_scores: Tensor | None = None
    queries: Tensor | None = None


def predictions(
    logits: Tensor, boxes: Tensor, attribute_logits: Tensor | None, limit: int = 100
) -> list[Prediction]:
    """The read-out of the last layer, with boxes clipped to the image; as `read_out`."""
    return read_out(logits, cxcywh_to_xyxy(boxes.float()).clamp(0, 1), attribute_logits, limit)


def read_out(
    logits: Tensor, corners: Tensor, attribute_logits: Tensor | None, limit: int = 100
) -> list[Prediction]:
    """DETR's read-out of the last layer: the best real class of each query, whatever its score.

    Args:
        logits: (B, Q, C + 1) of the last layer.
        corners: (B, Q, 4) float32, (x1, y1, x2, y2) in [0, 1] of the image; DETR clips none.
        attribute_logits: (B, Q, R + 1) or None.
        limit: how many to keep an image.
    """
    scores, labels = logits.float().softmax(-1)[..., :-1].max(-1)
    best, kept = scores.topk(min(limit, scores.size(-1)), dim=-1)
    boxes = corners.gather(1, kept[..., None].expand(-1, -1, 4)).cpu()
    chosen, best, queries = labels.gather(1, kept).cpu(), best.cpu(), kept.cpu()
    if attribute_logits is None:
        return [
            Prediction(boxes=b, labels=n, scores=s, queries=q)
            for b, n, s, q in zip(boxes, chosen, best, queries, strict=True)
        ]
    shares, named = attribute_logits[..., :-1].float().softmax(-1).max(-1)
    named, shares = named.gather(1, kept).cpu(), shares.gather(1, kept).cpu()
    return [
        Prediction(boxes=b, labels=n, scores=s, attributes=a, attribute_scores=p, queries=q)
        for b, n, s, a, p, q in zip(boxes, chosen, best, named, shares, queries, strict=True)
    ]


def matched_attribute_accuracy(
    logits: Tensor, boxes: Tensor, attribute_logits: Tensor, targets: ops.Targets
) -> dict[str, tuple[Tensor, Tensor]]:
    """Of the queries matched to an object: how many name its class, and its attribute.

    Args:
        logits: (B, Q, C + 1) of the last layer.
        boxes: (B, Q, 4) as (cx, cy, w, h) in [0, 1].
        attribute_logits: (B, Q, R + 1).
        targets: packed annotations.
    """
    matches = ops.match(logits[None], boxes[None], targets)[0][0]
    flat = targets.image_of * logits.size(1) + matches.clamp(min=0)
    found = matches >= 0
    labels = logits.flatten(0, 1)[flat][:, :-1].argmax(-1)
    named = attribute_logits.flatten(0, 1)[flat][:, :-1].argmax(-1)
    annotated = found & (targets.attributes >= 0)
    right_class = (labels == targets.labels) & found
    right_attribute = (named == targets.attributes) & annotated
    return {
        "matched_class": (right_class.sum(), found.sum()),
        "matched_attribute": (right_attribute.sum(), annotated.sum()),
    }
