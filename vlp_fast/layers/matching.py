"""DETR's `HungarianMatcher` and `SetCriterion`, for all decoder layers at once and without a wait.

Drop-in: the same arguments, the same dictionaries in, the same losses out; the names that
Hugging Face's transformers gives to the entries do as well. Different from DETR's:
all decoder layers are matched and scored in one call; nothing waits for the device, where matching
has a backend that stays on it (the reference does not); attributes can be matched and scored; and
what is not finite never raises.

Shape suffixes: A decoder layers, B images, Q queries, C classes, R attributes, T targets in all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlp_fast import ops
from vlp_fast.layers.late_warning import LateWarning
from vlp_fast.ops.matching import CLASS_COSTS, ClassCost

Outputs = Mapping[str, object]
"""`pred_logits` (B, Q, C + 1), `pred_boxes` (B, Q, 4); perhaps `pred_attributes` (B, Q, R + 1) and
`aux_outputs`, a list of the same of the layers in front of the last."""
Annotations = Sequence[Mapping[str, Tensor]]
"""Of each image `labels` (n,), `boxes` (n, 4) and perhaps `attributes` (n,), -1 for none."""

NOT_FINITE = (
    "HungarianMatcher: received logits or boxes that are not finite, or labels without a logit; "
    "they were matched last. Look at the loss, the learning rate and the annotations"
)
TRANSFORMERS_NAMES = {
    "logits": "pred_logits",
    "auxiliary_outputs": "aux_outputs",
    "class_labels": "labels",
}
"""What transformers calls the entries of outputs and annotations, and DETR's name for each."""
LOSSES = ("labels", "boxes", "cardinality", "attributes")


class HungarianMatcher(nn.Module):
    """Matches each target to one query of its image, at the lowest total cost.

    The cost is `cost_class c(label) + cost_bbox |b - t|_1 - cost_giou GIoU(b, t)
    - cost_attribute p(attribute)`, the last term where both sides have attributes; c is minus the
    class probability, or Deformable DETR's focal cost. What is not finite costs as much as possible
    and is told by a warning, on a GPU in a later step.

    >>> matcher = vlp_fast.HungarianMatcher(cost_class=1, cost_bbox=5, cost_giou=2)
    >>> indices = matcher(outputs, targets)       # [(queries, targets), ...] of each image

    Args:
        cost_class: weight of the class term.
        cost_bbox: weight of the L1 distance of boxes.
        cost_giou: weight of the generalised IoU.
        cost_attribute: weight of the attribute probability (not in DETR).
        class_cost: "softmax" as in DETR, "sigmoid", or "focal" as in Deformable DETR; with the
            latter two no logit stands for "no object".
        focal_alpha: weight of the positive part of the focal cost.
        focal_gamma: its exponent.

    Raises:
        ValueError: if all weights are zero, or for another `class_cost`.

    Source: DETR, eq. 1 and its public code, whose defaults are 1, 1 and 1; its training uses 1, 5
        and 2.
    """

    def __init__(
        self,
        cost_class: float = 1,
        cost_bbox: float = 1,
        cost_giou: float = 1,
        cost_attribute: float = 1,
        *,
        class_cost: ClassCost = "softmax",
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ) -> None:
        super().__init__()
        if class_cost not in CLASS_COSTS:
            raise ValueError(
                f"HungarianMatcher: received class_cost {class_cost!r}, expected one of "
                f"{', '.join(CLASS_COSTS)}"
            )
        if cost_class == cost_bbox == cost_giou == 0:
            raise ValueError(
                "HungarianMatcher: received the weights 0, 0 and 0, expected one of cost_class, "
                "cost_bbox and cost_giou above 0"
            )
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.cost_attribute = cost_attribute
        self.class_cost: ClassCost = class_cost
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self._warning = LateWarning(NOT_FINITE)

    @torch.no_grad()
    def forward(self, outputs: Outputs, targets: Annotations) -> list[tuple[Tensor, Tensor]]:
        """Matches the last layer.

        Args:
            outputs: of the model; `aux_outputs` are not looked at.
            targets: of each image.

        Returns:
            Of each image the queries, ascending, and the target of each: (min(Q, n),) int64, on the
            device of the outputs (DETR's are on the CPU).

        Raises:
            ValueError: the shapes disagree.
        """
        logits, boxes, attributes = stacked({**_in_detrs_names(outputs), "aux_outputs": []})
        packed = pack_targets(targets, boxes.device)
        matches_T = self.match(logits, boxes, attributes, packed)[0]
        num_queries = boxes.shape[2]
        return [_pairs(found, num_queries) for found in matches_T.split(list(packed.counts))]

    def match(
        self, logits: Tensor, boxes: Tensor, attributes: Tensor | None, targets: ops.Targets
    ) -> Tensor:
        """Matches all layers: (A, B, Q, ...) predictions to (A, T) queries, -1 for none."""
        matches, non_finite = ops.match(
            logits,
            boxes,
            targets,
            attribute_logits=attributes,
            class_cost=self.class_cost,
            cost_class=self.cost_class,
            cost_bbox=self.cost_bbox,
            cost_giou=self.cost_giou,
            cost_attribute=self.cost_attribute,
            focal_alpha=self.focal_alpha,
            focal_gamma=self.focal_gamma,
        )
        self._warning.watch(non_finite)
        return matches


class SetCriterion(nn.Module):
    """Computes DETR's losses of every decoder layer.

    >>> criterion = vlp_fast.SetCriterion(91, matcher, weight_dict, 0.1, ["labels", "boxes"])
    >>> losses = criterion(outputs, targets)
    >>> total = sum(losses[k] * weight_dict[k] for k in losses if k in weight_dict)

    Args:
        num_classes: C, without "no object".
        matcher: finds the queries of the targets, by its `match`.
        weight_dict: weights by name, kept for the caller as in DETR.
        eos_coef: weight of the class "no object".
        losses: any of "labels", "boxes", "cardinality" and "attributes".

    Raises:
        ValueError: for another loss; `masks` are DETR's segmentation, which is not here.
        TypeError: for a matcher that matches one layer at a time, as DETR's.

    Source: DETR's public code.
    """

    empty_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        matcher: HungarianMatcher,
        weight_dict: Mapping[str, float],
        eos_coef: float,
        losses: Sequence[str],
    ) -> None:
        super().__init__()
        unknown = [name for name in losses if name not in LOSSES]
        if unknown:
            raise ValueError(
                f"SetCriterion: received the loss {unknown[0]!r}, expected some of {LOSSES}"
            )
        if not hasattr(matcher, "match"):
            raise TypeError(
                f"SetCriterion: received the matcher {type(matcher).__name__}, expected a "
                "vlp_fast.HungarianMatcher, whose `match` takes all decoder layers at once"
            )
        self.num_classes = num_classes
        self.matcher = matcher
        self.weight_dict = dict(weight_dict)
        self.eos_coef = eos_coef
        self.losses = tuple(losses)
        weight = torch.ones(num_classes + 1)
        weight[-1] = eos_coef
        self.register_buffer("empty_weight", weight)  # DETR's state has it

    def forward(self, outputs: Outputs, targets: Annotations) -> dict[str, Tensor]:
        """Computes the losses, unweighted.

        Args:
            outputs: of the model, with `aux_outputs` if those layers are to be scored too.
            targets: of each image.

        Returns:
            Scalars under DETR's names: `loss_ce`, `class_error`, `loss_bbox`, `loss_giou`,
            `cardinality_error`, besides `loss_attribute`; those of layer i of `aux_outputs` end in
            `_i`. Errors are for the log and have no gradient.

        Raises:
            ValueError: the shapes disagree, or attributes are to be scored and there are none.
        """
        logits, boxes, attributes = stacked(outputs)
        self._check(logits, attributes)
        packed = pack_targets(targets, boxes.device)
        matches = self.matcher.match(logits, boxes, attributes, packed)
        found = ops.set_losses(
            logits,
            boxes,
            packed,
            matches,
            attribute_logits=attributes,
            class_weight=self.empty_weight,
            num_boxes=_mean_over_processes(packed.boxes.shape[0], boxes.device),
        )
        terms = self._terms(found, logits, packed)
        named = {name: term[-1] for name, term in terms.items()}
        if "labels" in self.losses:
            named["class_error"] = class_error(logits[-1], packed, matches[-1])
        for layer in range(len(logits) - 1):
            named |= {f"{name}_{layer}": term[layer] for name, term in terms.items()}
        return named

    def _terms(
        self, found: ops.SetLosses, logits: Tensor, targets: ops.Targets
    ) -> dict[str, Tensor]:
        """What was asked for, (A,) each, under DETR's names."""
        terms: dict[str, Tensor] = {}
        if "labels" in self.losses:
            terms["loss_ce"] = found.class_loss
        if "boxes" in self.losses:
            terms |= {"loss_bbox": found.bbox_loss, "loss_giou": found.giou_loss}
        if "cardinality" in self.losses:
            terms["cardinality_error"] = cardinality_error(logits, targets)
        if "attributes" in self.losses:
            terms["loss_attribute"] = found.attribute_loss
        return terms

    def _check(self, logits: Tensor, attributes: Tensor | None) -> None:
        if logits.shape[-1] != self.num_classes + 1:
            raise ValueError(
                f"SetCriterion: received logits of {logits.shape[-1]} classes, expected "
                f"{self.num_classes} and no object"
            )
        if attributes is None and "attributes" in self.losses:
            raise ValueError(
                "SetCriterion: received no pred_attributes, expected them for the loss 'attributes'"
            )


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


def stacked(outputs: Outputs) -> tuple[Tensor, Tensor, Tensor | None]:
    """Stacks the predictions of all layers, (A, B, Q, ...), the last one last."""
    outputs = _in_detrs_names(outputs)
    auxiliary = outputs.get("aux_outputs") or []
    assert isinstance(auxiliary, Sequence)
    layers = [*map(_in_detrs_names, auxiliary), outputs]
    logits = torch.stack([layer["pred_logits"] for layer in layers])
    boxes = torch.stack([layer["pred_boxes"] for layer in layers])
    if "pred_attributes" not in outputs:
        return logits, boxes, None
    return logits, boxes, torch.stack([layer["pred_attributes"] for layer in layers])


def pack_targets(targets: Annotations, device: torch.device) -> ops.Targets:
    """Packs DETR's list of dictionaries; annotations elsewhere are copied without a wait."""
    return ops.make_targets(
        [
            (t["boxes"], t["labels"], t.get("attributes", torch.full_like(t["labels"], -1)))
            for t in map(_in_detrs_names, targets)
        ]
    ).to(device)


def _in_detrs_names(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {TRANSFORMERS_NAMES.get(name, name): value for name, value in entries.items()}


def _pairs(matches: Tensor, num_queries: int) -> tuple[Tensor, Tensor]:
    """Sorts the queries of an image's targets (n,); targets left over are cut off."""
    last = matches.masked_fill(matches < 0, num_queries)
    order = last.argsort(stable=True)[: min(num_queries, len(matches))]
    return matches[order], order


def _mean_over_processes(count: int, device: torch.device) -> float | Tensor:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return float(count)
    total = torch.full((), float(count), device=device)
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
