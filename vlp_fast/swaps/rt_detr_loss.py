"""transformers' loss of RT-DETR: varifocal, with an encoder's proposals and denoising parts.

All decoder layers and the encoder's proposals are matched in one call. Denoising queries know their
targets, and are scored in a second one.

Shape suffixes: A decoder layers, B images, Q queries, C classes, T targets, G groups.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.layers.class_losses import varifocal_loss
from vlp_fast.layers.matched_pairs import MatchedPairs
from vlp_fast.swaps.detection_sets import (
    Costs,
    QuerySet,
    SetLoss,
    Sets,
    auxiliary_sets,
    by_name,
    in_order,
    sets_of_layers,
    stacked_by_shape,
    targets_of,
)
from vlp_fast.swaps.detr_losses import Result


class VarifocalLoss(SetLoss):
    """In place of transformers' `RTDetrForObjectDetectionLoss`."""

    def __call__(
        self,
        logits: Tensor,
        labels: Sequence[Mapping[str, Tensor]],
        device: Any,
        pred_boxes: Tensor,
        config: Any,
        outputs_class: Any = None,
        outputs_coord: Any = None,
        enc_topk_logits: Any = None,
        enc_topk_bboxes: Any = None,
        denoising_meta_values: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> Result:
        """Computes the losses of a batch; arguments and results are transformers'."""
        denoising: Sets = {}
        if denoising_meta_values is not None:
            split = denoising_meta_values["dn_num_split"]
            logits, pred_boxes = (x.split(split, dim=1)[1] for x in (logits, pred_boxes))
            if config.auxiliary_loss:
                dn_logits, outputs_class = outputs_class.split(split, dim=2)
                dn_boxes, outputs_coord = outputs_coord.split(split, dim=2)
                denoising = _denoising_sets(dn_logits, dn_boxes)
        auxiliary = None
        if config.auxiliary_loss:
            before = (x[:, :-1].transpose(0, 1) for x in (outputs_class, outputs_coord))
            auxiliary = auxiliary_sets(*before)
            auxiliary += auxiliary_sets([enc_topk_logits], [enc_topk_bboxes])
        sets = sets_of_layers(logits, pred_boxes, auxiliary, name="_aux_")
        targets = targets_of(labels, pred_boxes.device)
        losses = self._matched(sets, targets, config)
        if denoising and denoising_meta_values is not None:
            losses |= _denoised(denoising, targets, denoising_meta_values, config)
        return torch.stack([*losses.values()]).sum(), losses, auxiliary

    def _matched(self, sets: Sets, targets: ops.Targets, config: Any) -> dict[str, Tensor]:
        found: dict[str, dict[str, Tensor]] = {}
        for names, logits, boxes in stacked_by_shape(sets):
            matches = self.match(logits, boxes, targets, _costs(config))
            pairs = MatchedPairs.of(targets, matches)
            num_boxes = max(sum(targets.counts), 1)
            found |= by_name(names, _terms(logits, boxes, pairs, num_boxes, config))
        return in_order(sets, found)


def _denoised(
    sets: Sets, targets: ops.Targets, meta: Mapping[str, Any], config: Any
) -> dict[str, Tensor]:
    """Losses of denoising queries, each of which was made of a target."""
    groups = int(meta["dn_num_group"])
    order, image_of = _repeated(targets.counts, groups)
    order = order.to(targets.boxes.device, non_blocking=True)
    given = [
        of_image for of_image, n in zip(meta["dn_positive_idx"], targets.counts, strict=True) if n
    ]
    queries = torch.cat(given) if given else order
    found: dict[str, dict[str, Tensor]] = {}
    for names, logits, boxes in stacked_by_shape(sets):
        pairs = MatchedPairs(
            boxes=targets.boxes[order],
            labels=targets.labels[order],
            image_of=image_of.to(order.device, non_blocking=True),
            matches=queries.expand(len(names), -1),
        )
        num_boxes = max(sum(targets.counts), 1) * groups
        found |= by_name(names, _terms(logits, boxes, pairs, num_boxes, config))
    return in_order(sets, found)


def _repeated(counts: Sequence[int], groups: int) -> tuple[Tensor, Tensor]:
    """Places and images of targets where each image's come `groups` times, on the host."""
    starts = accumulate(counts, initial=0)
    places = [torch.arange(s, s + n).repeat(groups) for s, n in zip(starts, counts, strict=False)]
    number = torch.arange(len(counts))
    image_of = number.repeat_interleave(torch.tensor(counts, dtype=torch.int64) * groups)
    return torch.cat(places) if places else number, image_of


def _denoising_sets(logits: Tensor, boxes: Tensor) -> Sets:
    """From (B, A, Q, ...) of all layers."""
    layers = zip(logits.transpose(0, 1), boxes.transpose(0, 1), strict=True)
    return {f"_dn_{number}": QuerySet(*layer) for number, layer in enumerate(layers)}


def _terms(
    logits: Tensor, boxes: Tensor, pairs: MatchedPairs, num_boxes: int, config: Any
) -> dict[str, Tensor]:
    """The weighted terms of each set, (A,) each."""
    bbox, giou = pairs.box_losses(boxes)
    classes = varifocal_loss(
        logits, boxes, pairs, alpha=config.focal_loss_alpha, gamma=config.focal_loss_gamma
    )
    return {
        "loss_vfl": config.weight_loss_vfl * classes / num_boxes,
        "loss_bbox": config.weight_loss_bbox * bbox / num_boxes,
        "loss_giou": config.weight_loss_giou * giou / num_boxes,
    }


def _costs(config: Any) -> Costs:
    return Costs(
        "focal" if config.use_focal_loss else "softmax",
        config.matcher_class_cost,
        config.matcher_bbox_cost,
        config.matcher_giou_cost,
        config.matcher_alpha,
        config.matcher_gamma,
    )
