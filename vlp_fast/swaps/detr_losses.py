"""transformers' losses of DETR (softmax) and of Deformable DETR (focal), for all layers at once.

The former is that of DETR, Table Transformer and YOLOS, the latter of Deformable, Conditional and
DAB DETR.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vlp_fast import ops
from vlp_fast.layers.class_losses import focal_loss
from vlp_fast.layers.matched_pairs import MatchedPairs
from vlp_fast.reference.losses import class_loss
from vlp_fast.swaps.detection_sets import (
    Costs,
    SetLoss,
    Sets,
    auxiliary_sets,
    by_name,
    cardinality_error,
    in_order,
    num_boxes_of_accelerate,
    sets_of_layers,
    stacked_by_shape,
    targets_of,
    weighted,
)

Result = tuple[Tensor, dict[str, Tensor], list[dict[str, Tensor]] | None]
"""The total, each loss without its weight, and the predictions of layers before the last."""


class SoftmaxLoss(SetLoss):
    """In place of transformers' `ForObjectDetectionLoss`: cross entropy with "no object"."""

    def __call__(
        self,
        logits: Tensor,
        labels: Sequence[Mapping[str, Tensor]],
        device: Any,
        pred_boxes: Tensor,
        config: Any,
        outputs_class: Any = None,
        outputs_coord: Any = None,
        **_: Any,
    ) -> Result:
        """Computes the losses of a batch; arguments and results are transformers'."""
        auxiliary = None
        if config.auxiliary_loss:
            auxiliary = auxiliary_sets(outputs_class[:-1], outputs_coord[:-1])
        sets = sets_of_layers(logits, pred_boxes, auxiliary)
        losses = self._losses(sets, targets_of(labels, pred_boxes.device), config)
        return weighted(losses, _weights(config)), losses, auxiliary

    def _losses(self, sets: Sets, targets: ops.Targets, config: Any) -> dict[str, Tensor]:
        found: dict[str, dict[str, Tensor]] = {}
        num_boxes = num_boxes_of_accelerate(sum(targets.counts), targets.boxes.device)
        for names, logits, boxes in stacked_by_shape(sets):
            matches = self.match(logits, boxes, targets, self._costs(config))
            pairs = MatchedPairs.of(targets, matches)
            bbox, giou = pairs.box_losses(boxes)
            terms = {
                "loss_ce": self._class_loss(logits, pairs, num_boxes, config),
                "loss_bbox": bbox / num_boxes,
                "loss_giou": giou / num_boxes,
                "cardinality_error": cardinality_error(self._is_object(logits), targets),
            }
            found |= by_name(names, terms)
        return in_order(sets, found)

    def _costs(self, config: Any) -> Costs:
        return Costs("softmax", config.class_cost, config.bbox_cost, config.giou_cost)

    def _is_object(self, logits: Tensor) -> Tensor:
        return logits.argmax(-1) != logits.shape[-1] - 1

    def _class_loss(
        self, logits: Tensor, pairs: MatchedPairs, num_boxes: float | Tensor, config: Any
    ) -> Tensor:
        return class_loss(
            logits, pairs.labels, pairs.image_of, pairs.matches, config.eos_coefficient
        )


class FocalLoss(SoftmaxLoss):
    """In place of transformers' `DeformableDetrForObjectDetectionLoss`: focal, no "no object"."""

    def _costs(self, config: Any) -> Costs:
        return Costs("focal", config.class_cost, config.bbox_cost, config.giou_cost)

    def _is_object(self, logits: Tensor) -> Tensor:
        return logits.amax(-1).sigmoid() > 0.5

    def _class_loss(
        self, logits: Tensor, pairs: MatchedPairs, num_boxes: float | Tensor, config: Any
    ) -> Tensor:
        return focal_loss(logits, pairs, alpha=config.focal_alpha) / num_boxes


def _weights(config: Any) -> dict[str, float]:
    weights = {
        "loss_ce": 1.0,
        "loss_bbox": config.bbox_loss_coefficient,
        "loss_giou": config.giou_loss_coefficient,
    }
    layers = config.decoder_layers - 1 if config.auxiliary_loss else 0
    endings = ["", *(f"_{layer}" for layer in range(layers))]
    return {f"{name}{end}": weight for end in endings for name, weight in weights.items()}
