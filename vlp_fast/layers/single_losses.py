"""DETR's losses one by one, of one layer: what a criterion of one's own overrides or adds to.

Each takes `(outputs, targets, indices, num_boxes)` as in DETR's public code and returns a
dictionary. `SetCriterion` scores what nobody has overridden for all layers at once, by the same
operator, and calls the methods of a subclass layer by layer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.layers.matching import Annotations, Outputs, in_detrs_names, pack_targets, stacked

Indices = Sequence[tuple[Tensor, Tensor]]
"""Of each image the queries, and the target of each: (n,) int64 on the device of the outputs."""


class SingleLosses:
    """Losses of one layer.

    In all of them:

    Args:
        outputs: of the layer, `pred_logits` (B, Q, C + 1), `pred_boxes` (B, Q, 4) and more.
        targets: of each image, as the criterion was given them.
        indices: which query is of which target.
        num_boxes: what sums over boxes are divided by, 1 or more; a number, or a scalar tensor
            where there are several processes.
    """

    empty_weight: Tensor

    def loss_labels(
        self,
        outputs: Outputs,
        targets: Annotations,
        indices: Indices,
        num_boxes: float | Tensor,
        log: bool = True,
    ) -> dict[str, Tensor]:
        """Cross entropy of the classes, `loss_ce`; with `log` the `class_error` in percent."""
        packed, matches = self._matched(outputs, targets, indices)
        losses = {"loss_ce": self._losses(outputs, packed, matches, num_boxes).class_loss[0]}
        if log:
            logits = in_detrs_names(outputs)["pred_logits"]
            losses["class_error"] = class_error(logits, packed, matches)
        return losses

    def loss_boxes(
        self, outputs: Outputs, targets: Annotations, indices: Indices, num_boxes: float | Tensor
    ) -> dict[str, Tensor]:
        """L1 distance and 1 - GIoU of matched boxes: `loss_bbox`, `loss_giou`."""
        packed, matches = self._matched(outputs, targets, indices)
        found = self._losses(outputs, packed, matches, num_boxes)
        return {"loss_bbox": found.bbox_loss[0], "loss_giou": found.giou_loss[0]}

    def loss_cardinality(
        self, outputs: Outputs, targets: Annotations, indices: Indices, num_boxes: float | Tensor
    ) -> dict[str, Tensor]:
        """How many objects too many or too few, `cardinality_error`; without a gradient."""
        logits = in_detrs_names(outputs)["pred_logits"]
        packed = pack_targets(targets, logits.device)
        return {"cardinality_error": cardinality_error(logits[None], packed)[0]}

    def loss_attributes(
        self, outputs: Outputs, targets: Annotations, indices: Indices, num_boxes: float | Tensor
    ) -> dict[str, Tensor]:
        """Cross entropy of annotated attributes, `loss_attribute` (not in DETR)."""
        packed, matches = self._matched(outputs, targets, indices)
        return {
            "loss_attribute": self._losses(outputs, packed, matches, num_boxes).attribute_loss[0]
        }

    def _matched(
        self, outputs: Outputs, targets: Annotations, indices: Indices
    ) -> tuple[ops.Targets, Tensor]:
        """The packed targets, and the query of each, (T,), -1 for none."""
        device = in_detrs_names(outputs)["pred_boxes"].device
        packed = pack_targets(targets, device)
        matches = torch.full((len(packed.labels),), -1, dtype=torch.int64, device=device)
        for image, (queries, numbers) in enumerate(indices):
            start = packed.cu_targets[image]
            matches = matches.index_copy(0, start + numbers.to(device), queries.to(device))
        return packed, matches

    def _losses(
        self, outputs: Outputs, packed: ops.Targets, matches: Tensor, num_boxes: float | Tensor
    ) -> ops.SetLosses:
        logits, boxes, attributes = stacked({**in_detrs_names(outputs), "aux_outputs": []})
        return ops.set_losses(
            logits,
            boxes,
            packed,
            matches[None],
            attribute_logits=attributes,
            class_weight=self.empty_weight,
            num_boxes=num_boxes,
        )


def overridden(criterion: SingleLosses, names: Sequence[str]) -> list[str]:
    """Those of the names of losses whose method is the criterion's own."""
    return [name for name in names if not _is_ours(criterion, name)]


def named_by_layer(
    criterion: SingleLosses,
    names: Sequence[str],
    outputs: Outputs,
    targets: Annotations,
    indices: Sequence[Indices],
    num_boxes: float | Tensor,
) -> dict[str, Tensor]:
    """Losses by the methods of a criterion, named as DETR names them.

    Args:
        criterion: whose methods are called.
        names: of losses, "labels" for the method `loss_labels`.
        outputs: of the last layer, with `aux_outputs` of those in front of it.
        targets: of each image.
        indices: of each layer, the last one last.
        num_boxes: as of `SingleLosses`.
    """
    last = in_detrs_names(outputs)
    auxiliary: Any = last.pop("aux_outputs", None) or []
    found: dict[str, Tensor] = {}
    for name in names:
        method = getattr(criterion, f"loss_{name}")
        found |= method(last, targets, indices[-1], num_boxes)
        for number, layer in enumerate(auxiliary if name != "masks" else ()):  # as in DETR
            options: Mapping[str, bool] = {"log": False} if name == "labels" else {}
            one = method(in_detrs_names(layer), targets, indices[number], num_boxes, **options)
            found |= {f"{key}_{number}": value for key, value in one.items()}
    return found


def _is_ours(criterion: SingleLosses, name: str) -> bool:
    method = f"loss_{name}"
    return getattr(type(criterion), method, None) is getattr(SingleLosses, method, None)


@torch.no_grad()
def cardinality_error(logits: Tensor, targets: ops.Targets) -> Tensor:
    """(A,) mean over images of |predicted objects - targets|, from logits (A, B, Q, C + 1)."""
    predicted = (logits.argmax(-1) != logits.shape[-1] - 1).sum(-1)
    return (predicted - targets.cu_targets.diff()).abs().float().mean(-1)


@torch.no_grad()
def class_error(logits: Tensor, targets: ops.Targets, matches: Tensor) -> Tensor:
    """Percent of matched targets (T,) whose query has another class, from logits (B, Q, C + 1)."""
    places = targets.image_of * logits.shape[1] + matches.clamp(min=0)
    is_right = logits.flatten(0, 1).argmax(-1)[places] == targets.labels
    is_matched = matches >= 0
    return 100 - 100 * (is_right & is_matched).sum() / is_matched.sum().clamp(min=1)
