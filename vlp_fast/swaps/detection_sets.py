"""What the detection losses of transformers share: sets of queries, costs, names, how many boxes.

Shape suffixes: A sets of queries, B images, Q queries, C classes, T targets.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.layers.late_warning import LateWarning
from vlp_fast.layers.matching import NOT_FINITE
from vlp_fast.ops.matching import ClassCost


class QuerySet(NamedTuple):
    """Predictions of one layer."""

    logits: Tensor
    """(B, Q, C)."""
    boxes: Tensor
    """(B, Q, 4), `(cx, cy, w, h)` in [0, 1]."""


Sets = Mapping[str, QuerySet]
"""By what the names of their losses end in."""


class Costs(NamedTuple):
    """Of the matching."""

    class_cost: ClassCost
    cost_class: float
    cost_bbox: float
    cost_giou: float
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0


class SetLoss(ABC):
    """A loss of transformers that is computed for all sets of queries at once.

    A plain object, no module: as a model's `loss_function` it must add nothing to its state.
    """

    def __init__(self) -> None:
        self._warning = LateWarning(NOT_FINITE.replace("HungarianMatcher", "loss_function"))

    @abstractmethod
    def __call__(self, *given: Any, **named: Any) -> Any:
        """Computes the losses of a batch, each kind by itself."""

    def match(self, logits: Tensor, boxes: Tensor, targets: ops.Targets, costs: Costs) -> Tensor:
        """Matches (A, B, Q, ...) predictions to (A, T) queries, -1 for none."""
        matches, non_finite = ops.match(logits, boxes, targets, **costs._asdict())
        self._warning.watch(non_finite)
        return matches


def stacked_by_shape(sets: Sets) -> list[tuple[list[str], Tensor, Tensor]]:
    """Stacks sets with as many queries: their names, logits (A, B, Q, C) and boxes (A, B, Q, 4)."""
    names_of: dict[torch.Size, list[str]] = {}
    for name, one in sets.items():
        names_of.setdefault(one.logits.shape, []).append(name)
    return [
        (
            names,
            torch.stack([sets[name].logits for name in names]),
            torch.stack([sets[name].boxes for name in names]),
        )
        for names in names_of.values()
    ]


def by_name(names: Sequence[str], terms: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """From terms (A,) to the terms of each set."""
    return {
        name: {term: values[number] for term, values in terms.items()}
        for number, name in enumerate(names)
    }


def in_order(sets: Sets, found: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Names every loss as transformers does: the term, then the ending of its set."""
    return {f"{term}{end}": loss for end in sets for term, loss in found[end].items()}


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Adds up what has a weight."""
    parts = [weights[name] * loss for name, loss in losses.items() if name in weights]
    return torch.stack(parts).sum()


def targets_of(labels: Sequence[Mapping[str, Tensor]], device: torch.device) -> ops.Targets:
    """Packs transformers' annotations, whatever else they hold.

    Boxes of an image without any may be (0,), as `torch.tensor([])` is: transformers takes them.
    """
    images = [{"boxes": one["boxes"], "labels": one["class_labels"]} for one in labels]
    for image in images:
        if image["boxes"].numel() == 0:
            image["boxes"] = image["boxes"].reshape(0, 4)
    return ops.make_targets(images).to(device)


def sets_of_layers(
    logits: Tensor,
    boxes: Tensor,
    auxiliary: Sequence[Mapping[str, Tensor]] | None,
    *,
    name: str = "_",
) -> dict[str, QuerySet]:
    """Sets of the last layer, "", and of those before it, by `name` and their number."""
    sets = {"": QuerySet(logits, boxes)}
    for number, layer in enumerate(auxiliary or ()):
        sets[f"{name}{number}"] = QuerySet(layer["logits"], layer["pred_boxes"])
    return sets


def auxiliary_sets(layers_logits: Any, layers_boxes: Any) -> list[dict[str, Tensor]]:
    """Predictions of layers as transformers returns them."""
    pairs = zip(layers_logits, layers_boxes, strict=True)
    return [{"logits": logits, "pred_boxes": boxes} for logits, boxes in pairs]


@torch.no_grad()
def cardinality_error(is_object: Tensor, targets: ops.Targets) -> Tensor:
    """(A,) mean over images of |predicted objects - targets|, from (A, B, Q) bool."""
    return (is_object.sum(-1) - targets.cu_targets.diff()).abs().float().mean(-1)


def num_boxes_of_accelerate(count: int, device: torch.device) -> float | Tensor:
    """The divisor of box losses where processes are those of the package accelerate.

    As transformers' DETR computes it (5.23), but without a wait: what `reduce` gives, divided by
    the number of processes once more.
    """
    package = sys.modules.get("accelerate")
    if package is None or not package.PartialState._shared_state:
        return float(max(count, 1))
    total = torch.full((1,), float(count), device=device)
    mean: Tensor = package.utils.reduce(total) / package.PartialState().num_processes
    return mean.clamp(min=1)


def num_boxes_of_processes(count: int, device: torch.device) -> float | Tensor:
    """The divisor of box losses where processes are those of torch.distributed: their mean."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return float(max(count, 1))
    total = torch.full((1,), float(count), device=device)
    torch.distributed.all_reduce(total)
    return (total / torch.distributed.get_world_size()).clamp(min=1)
