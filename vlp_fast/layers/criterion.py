"""DETR's `SetCriterion`, for all decoder layers at once and without a wait.

Drop-in: the same arguments, the same dictionaries in, the same losses out. Different from DETR's:
all decoder layers are matched in one call, and scored in one where no subclass scores them itself;
nothing waits for the device, where matching has a backend that stays on it (the reference does
not); attributes can be scored.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlp_fast import ops
from vlp_fast.layers.matching import (
    Annotations,
    HungarianMatcher,
    Outputs,
    in_detrs_names,
    matched_pairs,
    pack_targets,
    stacked,
)
from vlp_fast.layers.single_losses import (
    SingleLosses,
    cardinality_error,
    class_error,
    named_by_layer,
    overridden,
)

LOSSES = ("labels", "boxes", "cardinality", "attributes")
SCORED = {"pred_logits", "pred_boxes", "pred_attributes", "aux_outputs"}


class SetCriterion(nn.Module, SingleLosses):
    """Computes DETR's losses of every decoder layer.

    A subclass may override `loss_labels`, `loss_boxes`, `loss_cardinality` and `loss_attributes`,
    and add others as `loss_masks` of the loss "masks", with DETR's arguments (outputs, targets,
    indices, num_boxes). What it has is called layer by layer, what it leaves is computed at once.
    Methods of the class count, not what is set on an object.

    >>> criterion = vlp_fast.SetCriterion(91, matcher, weight_dict, 0.1, ["labels", "boxes"])
    >>> losses = criterion(outputs, targets)
    >>> total = sum(losses[k] * weight_dict[k] for k in losses if k in weight_dict)

    Args:
        num_classes: C, without "no object".
        matcher: finds the queries of the targets, by its `match`.
        weight_dict: weights by name, kept for the caller as in DETR.
        eos_coef: weight of the class "no object".
        losses: any of "labels", "boxes", "cardinality", "attributes", and those that a subclass
            adds.

    Raises:
        ValueError: for another loss (`masks` are DETR's segmentation, which is not here), or for a
            matcher with another class cost than DETR's.
        TypeError: for a matcher that matches one layer at a time, as DETR's; for a subclass with
            DETR's `get_loss`, which this `forward` does not call.

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
        unknown = [name for name in losses if not hasattr(self, f"loss_{name}")]
        if unknown:
            raise ValueError(
                f"SetCriterion: received the loss {unknown[0]!r}, expected some of {LOSSES}, or "
                f"a subclass with a method loss_{unknown[0]}"
            )
        if not hasattr(matcher, "match"):
            raise TypeError(
                f"SetCriterion: received the matcher {type(matcher).__name__}, expected a "
                "vlp_fast.HungarianMatcher, whose `match` takes all decoder layers at once"
            )
        if matcher.class_cost != "softmax":
            raise ValueError(
                f"SetCriterion: received a matcher with class_cost {matcher.class_cost!r}, "
                "expected 'softmax', which this criterion's cross entropy belongs to"
            )
        self.num_classes = num_classes
        self.matcher = matcher
        self.weight_dict = dict(weight_dict)
        self.eos_coef = eos_coef
        self.losses = tuple(losses)
        self._own = overridden(self, self.losses)
        self._told: set[str] = set()
        weight = torch.ones(num_classes + 1)
        weight[-1] = eos_coef
        self.register_buffer("empty_weight", weight)  # DETR's state has it

    def forward(self, outputs: Outputs, targets: Annotations) -> dict[str, Tensor]:
        """Computes the losses, unweighted.

        Args:
            outputs: of the model, with `aux_outputs` if those layers are to be scored too.
            targets: of each image.

        Predictions beside these, such as `enc_outputs`, `dn_outputs` or `pred_masks`, are not
        scored: a warning says so once.

        Returns:
            Scalars under DETR's names: `loss_ce`, `class_error`, `loss_bbox`, `loss_giou`,
            `cardinality_error`, besides `loss_attribute`; those of layer i of `aux_outputs` end in
            `_i`. Errors are for the log and have no gradient.

        Raises:
            ValueError: the shapes disagree, or attributes are to be scored and there are none.
        """
        self._tell_unscored(outputs)
        logits, boxes, attributes = stacked(outputs)
        self._check(logits, attributes)
        packed = pack_targets(targets, boxes.device)
        matches = self.matcher.match(logits, boxes, attributes, packed)
        num_boxes = _mean_over_processes(packed.boxes.shape[0], boxes.device)
        found = ops.set_losses(
            logits,
            boxes,
            packed,
            matches,
            attribute_logits=attributes,
            class_weight=self.empty_weight,
            num_boxes=num_boxes,
        )
        terms = self._terms(found, logits, packed)
        named = {name: term[-1] for name, term in terms.items()}
        if "labels" in self._shared:
            named["class_error"] = class_error(logits[-1], packed, matches[-1])
        for layer in range(len(logits) - 1):
            named |= {f"{name}_{layer}": term[layer] for name, term in terms.items()}
        if not self._own:
            return named
        pairs = [matched_pairs(one, packed, num_queries=logits.shape[2]) for one in matches]
        own = self._own, outputs, targets, pairs, _at_least_one(num_boxes)
        return named | named_by_layer(self, *own)

    @property
    def _shared(self) -> list[str]:
        """Losses that are computed for all layers at once."""
        return [name for name in self.losses if name not in self._own]

    def _terms(
        self, found: ops.SetLosses, logits: Tensor, targets: ops.Targets
    ) -> dict[str, Tensor]:
        """What was asked for, (A,) each, under DETR's names."""
        terms: dict[str, Tensor] = {}
        if "labels" in self._shared:
            terms["loss_ce"] = found.class_loss
        if "boxes" in self._shared:
            terms |= {"loss_bbox": found.bbox_loss, "loss_giou": found.giou_loss}
        if "cardinality" in self._shared:
            terms["cardinality_error"] = cardinality_error(logits, targets)
        if "attributes" in self._shared:
            terms["loss_attribute"] = found.attribute_loss
        return terms

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a method that nobody would call."""
        super().__init_subclass__(**options)
        if hasattr(cls, "get_loss") and cls.forward is SetCriterion.forward:
            raise TypeError(
                f"SetCriterion: received the subclass {cls.__name__} with get_loss, which its "
                "forward does not call, expected methods of single losses, as loss_labels"
            )

    def _tell_unscored(self, outputs: Outputs) -> None:
        if torch.compiler.is_compiling():
            return
        own = {f"pred_{name}" for name in self._own}
        found = [name for name in unscored(outputs) if name not in self._told | own]
        if found:
            self._told.update(found)
            warnings.warn(
                f"SetCriterion: received {', '.join(found)} among the outputs, which it does not "
                "score; call it once more with them in place of the outputs, or leave them out",
                RuntimeWarning,
                stacklevel=5,  # the line that calls the module
            )

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


def unscored(outputs: Outputs) -> list[str]:
    """Names of predictions that `SetCriterion` leaves out: of encoders, of denoising, masks."""
    rest = {name: value for name, value in in_detrs_names(outputs).items() if name not in SCORED}
    return [
        name
        for name, value in rest.items()
        if value is not None and (name.startswith(("pred_", "enc_", "dn_")) or _is_outputs(value))
    ]


def _is_outputs(value: object) -> bool:
    """Whether a value looks like outputs of a layer, or a list of them."""
    if isinstance(value, list | tuple):
        return any(map(_is_outputs, value))
    return isinstance(value, Mapping)


def _at_least_one(count: float | Tensor) -> float | Tensor:
    return count.clamp(min=1) if isinstance(count, Tensor) else max(count, 1.0)


def _mean_over_processes(count: int, device: torch.device) -> float | Tensor:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return float(count)
    total = torch.full((), float(count), dtype=torch.float32, device=device)
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()
