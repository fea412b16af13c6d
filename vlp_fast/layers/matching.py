"""DETR's `HungarianMatcher`, for all decoder layers at once and without a wait.

Drop-in: the same arguments, the same dictionaries in, the same pairs out. Different from DETR's:
one call matches all decoder layers, pairs stay on the device, attributes can be matched, and what
is not finite is matched last.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from vlp_fast import ops
from vlp_fast.layers.late_warning import LateWarning
from vlp_fast.layers.query_slices import Slices, match_in_slices
from vlp_fast.ops.matching import CLASS_COSTS, ClassCost

Outputs = Mapping[str, object]
"""`pred_logits` (B, Q, C + 1), `pred_boxes` (B, Q, 4); perhaps `pred_attributes` (B, Q, R + 1) and
`aux_outputs`, a list of the same of the layers in front of the last."""
Annotations = Sequence[Mapping[str, Tensor]] | ops.Targets
"""Of each image `labels` (n,), `boxes` (n, 4) and perhaps `attributes` (n,), -1 for none; or all of
them packed by `ops.make_targets`, which saves small copies in a step and recompilations."""

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
        self._warning = LateWarning(NOT_FINITE, stacklevel=5)  # the line that calls the module

    def forward(
        self,
        outputs: Outputs,
        targets: Annotations,
        *,
        extra_cost: Tensor | None = None,
        slices: Slices | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Matches the last layer.

        Args:
            outputs: of the model; `aux_outputs` are not looked at.
            targets: of each image.
            extra_cost: (T, Q), added to the cost of each of the T targets of all images, one image
                behind another, against the queries of its image: of masks, of keypoints.
            slices: of the queries, as groups are, each matched with all targets (`match_slices`).

        Returns:
            Of each image the queries, ascending, and the target of each: (min(Q, n),) int64, on the
            device of the outputs (DETR's are on the CPU). Those of slices follow one another.

        Raises:
            ValueError: the shapes disagree, or slices are as `match_slices` refuses them.
        """
        with torch.no_grad():  # as a decorator it would be one more call below the warning's line
            logits, boxes, attributes = stacked({**in_detrs_names(outputs), "aux_outputs": []})
            packed = pack_targets(targets, boxes.device)
            extra = None if extra_cost is None else extra_cost[None]
            given = logits, boxes, attributes, packed
            if slices is None:
                matches_T = self.match(*given, extra_cost=extra)[0]
                return matched_pairs(matches_T, packed, num_queries=boxes.shape[2])
            matches_GT = self.match_slices(*given, slices, extra_cost=extra)[0]
            return pairs_of_slices(matches_GT, packed, slices)

    def match(
        self,
        logits: Tensor,
        boxes: Tensor,
        attributes: Tensor | None,
        targets: ops.Targets,
        *,
        extra_cost: Tensor | None = None,
    ) -> Tensor:
        """Matches all layers: (A, B, Q, ...) predictions to (A, T) queries, -1 for none.

        `extra_cost` is (A, T, Q), as `ops.match` takes it.
        """
        matches, non_finite = self._match(logits, boxes, attributes, targets, extra_cost)
        self._warning.watch(non_finite)
        return matches

    def match_slices(
        self,
        logits: Tensor,
        boxes: Tensor,
        attributes: Tensor | None,
        targets: ops.Targets,
        slices: Slices,
        *,
        extra_cost: Tensor | None = None,
    ) -> Tensor:
        """Matches slices of the queries, each with all targets, as if it were alone.

        Groups of queries (Group DETR, LW-DETR, RF-DETR) are slices; queries for denoising, in front
        of the others, are left out by where the first one begins. Slices of one length are matched
        in one call, all layers of them.

        Args:
            logits: (A, B, Q, ...) as `boxes` and `attributes`, of all layers.
            boxes: of the same.
            attributes: of the same, or None.
            targets: of the batch, T.
            slices: first query of each of G slices, and the one behind its last; host integers.
            extra_cost: (A, T, Q) of all queries, as `match` takes it.

        Returns:
            (A, G, T) int64, numbers among all Q queries, -1 for targets left over.

        Raises:
            ValueError: for no slices, or one that is empty or reaches beyond the queries.
        """

        bad: list[Tensor] = []

        def match(
            logits: Tensor, boxes: Tensor, attributes: Tensor | None, extra: Tensor | None
        ) -> Tensor:
            matches, non_finite = self._match(logits, boxes, attributes, targets, extra)
            bad.append(non_finite.any())
            return matches

        given = logits, boxes, attributes, slices
        matches = match_in_slices(match, *given, extra_cost=extra_cost)
        self._warning.watch(torch.stack(bad))
        return matches

    def _match(
        self,
        logits: Tensor,
        boxes: Tensor,
        attributes: Tensor | None,
        targets: ops.Targets,
        extra_cost: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Matches and tells, for each layer and image, whether something was not finite."""
        return ops.match(
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
            extra_cost=extra_cost,
        )


def stacked(outputs: Outputs) -> tuple[Tensor, Tensor, Tensor | None]:
    """Stacks the predictions of all layers, (A, B, Q, ...), the last one last."""
    outputs = in_detrs_names(outputs)
    auxiliary = outputs.get("aux_outputs") or []
    assert isinstance(auxiliary, Sequence)
    layers = [*map(in_detrs_names, auxiliary), outputs]
    logits = torch.stack([layer["pred_logits"] for layer in layers])
    boxes = torch.stack([layer["pred_boxes"] for layer in layers])
    if "pred_attributes" not in outputs:
        return logits, boxes, None
    return logits, boxes, torch.stack([layer["pred_attributes"] for layer in layers])


def pack_targets(targets: Annotations, device: torch.device) -> ops.Targets:
    """Packs DETR's list of dictionaries; annotations elsewhere are copied without a wait."""
    if isinstance(targets, ops.Targets):
        return targets.to(device)
    return ops.make_targets([in_detrs_names(one) for one in targets]).to(device)


def in_detrs_names(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Returns entries of outputs or annotations under DETR's names, others as they are."""
    return {TRANSFORMERS_NAMES.get(name, name): value for name, value in entries.items()}


def pairs_of_slices(
    matches: Tensor, targets: ops.Targets, slices: Slices
) -> list[tuple[Tensor, Tensor]]:
    """Of each image the pairs of (G, T) matches, those of one slice behind those of another."""
    each = []
    for one, (first, end) in zip(matches, slices, strict=True):
        within = torch.where(one >= 0, one - first, one)
        pairs = matched_pairs(within, targets, num_queries=end - first)
        each.append([(queries + first, numbers) for queries, numbers in pairs])
    if len(each) == 1:
        return each[0]
    of_images = [zip(*of_image, strict=True) for of_image in zip(*each, strict=True)]
    return [(torch.cat(queries), torch.cat(numbers)) for queries, numbers in of_images]


def matched_pairs(
    matches_T: Tensor, targets: ops.Targets, num_queries: int
) -> list[tuple[Tensor, Tensor]]:
    """Of each image the queries, ascending, and their targets; targets left over are cut off."""
    last = matches_T.masked_fill(matches_T < 0, num_queries)
    order = (targets.image_of * (num_queries + 1) + last).argsort(stable=True)
    queries, numbers = matches_T[order], order - targets.cu_targets[targets.image_of]
    starts = accumulate(targets.counts, initial=0)
    kept = [slice(i, i + min(n, num_queries)) for i, n in zip(starts, targets.counts, strict=False)]
    return [(queries[one], numbers[one]) for one in kept]
