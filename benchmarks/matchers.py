"""Ways to match the predictions of all decoder layers to their targets.

A solution of a batch is the query of each target at each layer, (A, T); a run solves several
batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

import vlp_fast
from vlp_fast import ops
from vlp_fast.layers.matching import pack_targets

from . import detr, padded_matching, solvers
from .problems import COST_BBOX, COST_CLASS, COST_GIOU, Scene


def by_ours(scene: Scene) -> Tensor:
    """`ops.match` of all layers, annotations packed in the call as everybody else's are."""
    matches, _ = ops.match(
        scene.logits,
        scene.boxes,
        pack_targets(scene.annotations, scene.boxes.device),
        cost_class=COST_CLASS,
        cost_bbox=COST_BBOX,
        cost_giou=COST_GIOU,
    )
    return matches


def drop_in() -> Callable[[Scene], list[detr.Indices]]:
    """`vlp_fast.HungarianMatcher` where DETR calls its own: on layer after layer."""
    matcher = vlp_fast.HungarianMatcher(COST_CLASS, COST_BBOX, COST_GIOU)

    def match(scene: Scene) -> list[detr.Indices]:
        layers = zip(scene.logits, scene.boxes, strict=True)
        return [
            matcher({"pred_logits": logits, "pred_boxes": boxes}, scene.annotations)
            for logits, boxes in layers
        ]

    return match


def by_detr(scene: Scene) -> list[detr.Indices]:
    """DETR's matcher on layer after layer."""
    layers = zip(scene.logits, scene.boxes, strict=True)
    return [detr.match(logits, boxes, scene.annotations) for logits, boxes in layers]


def read_detr(solutions: list[list[detr.Indices]]) -> list[Tensor]:
    """Bring DETR's pairs into the order of the targets."""
    return [
        torch.stack([torch.cat([q[t.argsort()] for q, t in layer]) for layer in solution])
        for solution in solutions
    ]


def read_padded(scenes: Sequence[Scene], solutions: list[Tensor]) -> list[Tensor]:
    """Drop the padding."""
    kept = [padded_matching.pad(scene).is_target for scene in scenes]
    return [matches[:, keep] for matches, keep in zip(solutions, kept, strict=True)]


def excess(scene: Scene, matches: Tensor) -> float:
    """The worst layer's distance to the optimum of the cost in float64."""
    targets, worst = padded_matching.pad(scene), 0.0
    for layer, found in enumerate(matches):
        cost = padded_matching.cost(
            scene.logits[layer : layer + 1].double(),
            scene.boxes[layer : layer + 1].double(),
            targets.boxes.double(),
            targets.labels,
            targets.is_target,
        )
        packed = cost[0][targets.is_target]
        worst = max(worst, solvers.excess(packed, scene.targets.counts, found))
    return worst
