"""transformers' loss of LW-DETR and RF-DETR: IoU-aware cross entropy, groups of queries.

Every group of every layer, and of the encoder's proposals, is matched in one call.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vlp_fast import ops
from vlp_fast.layers.class_losses import iou_aware_loss
from vlp_fast.layers.matched_pairs import MatchedPairs
from vlp_fast.layers.query_slices import match_in_slices
from vlp_fast.swaps.detection_sets import (
    Costs,
    QuerySet,
    SetLoss,
    Sets,
    auxiliary_sets,
    by_name,
    cardinality_error,
    in_order,
    num_boxes_of_processes,
    sets_of_layers,
    stacked_by_shape,
    targets_of,
    weighted,
)
from vlp_fast.swaps.detr_losses import Result


class GroupedLoss(SetLoss):
    """In place of transformers' `LwDetrForObjectDetectionLoss`."""

    def __call__(
        self,
        logits: Tensor,
        labels: Sequence[Mapping[str, Tensor]],
        device: Any,
        pred_boxes: Tensor,
        config: Any,
        outputs_class: Any = None,
        outputs_coord: Any = None,
        enc_outputs_class: Any = None,
        enc_outputs_coord: Any = None,
        **_: Any,
    ) -> Result:
        """Computes the losses of a batch; arguments and results are transformers'."""
        auxiliary = None
        if config.auxiliary_loss:
            auxiliary = auxiliary_sets(outputs_class[:-1], outputs_coord[:-1])
        sets = sets_of_layers(logits, pred_boxes, auxiliary)
        sets["_enc"] = QuerySet(enc_outputs_class, enc_outputs_coord)
        losses = self._losses(sets, targets_of(labels, pred_boxes.device), config)
        return weighted(losses, _weights(config)), losses, auxiliary

    def _losses(self, sets: Sets, targets: ops.Targets, config: Any) -> dict[str, Tensor]:
        found: dict[str, dict[str, Tensor]] = {}
        count = sum(targets.counts) * config.group_detr
        num_boxes = num_boxes_of_processes(count, targets.boxes.device)
        for names, logits, boxes in stacked_by_shape(sets):
            pairs = self._in_groups(logits, boxes, targets, config)
            bbox, giou = pairs.box_losses(boxes)
            classes = iou_aware_loss(logits, boxes, pairs, alpha=config.focal_alpha)
            terms = {
                "loss_ce": classes / num_boxes,
                "loss_bbox": bbox / num_boxes,
                "loss_giou": giou / num_boxes,
                "cardinality_error": cardinality_error(logits.amax(-1).sigmoid() > 0.5, targets),
            }
            found |= by_name(names, terms)
        return in_order(sets, found)

    def _in_groups(
        self, logits: Tensor, boxes: Tensor, targets: ops.Targets, config: Any
    ) -> MatchedPairs:
        """Matches each group by itself; queries beyond the last whole one belong to none."""
        costs = Costs("focal", config.class_cost, config.bbox_cost, config.giou_cost)

        def match(logits: Tensor, boxes: Tensor, *_: Tensor | None) -> Tensor:
            return self.match(logits, boxes, targets, costs)

        size = logits.shape[2] // config.group_detr
        groups = [(size * group, size * (group + 1)) for group in range(config.group_detr)]
        return MatchedPairs.of(targets, match_in_slices(match, logits, boxes, None, groups))


def _weights(config: Any) -> dict[str, float]:
    weights = {
        "loss_ce": config.class_loss_coefficient,
        "loss_bbox": config.bbox_loss_coefficient,
        "loss_giou": config.giou_loss_coefficient,
    }
    layers = config.decoder_layers - 1 if config.auxiliary_loss else 0
    endings = ["", *(f"_{layer}" for layer in range(layers)), "_enc"]
    return {f"{name}{end}": weight for end in endings for name, weight in weights.items()}
