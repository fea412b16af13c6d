"""Matching groups of queries: RF-DETR's way of training, beside its own matcher.

Each of G groups of every layer is matched with all targets of its image, by Deformable DETR's focal
cost. `match-groups-4xB2-G13-T30`: four sets (three decoder layers and the encoder's proposals) of
two images, 13 groups of 300 queries, 1 to 30 targets an image; 91 classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

import vlp_fast
from vlp_fast.layers.matching import pack_targets

from . import scenes
from .case import Case, Setting, ours
from .peers import LW_DETR_MATCHER, RF_DETR_MATCHER
from .scenes import Scene

SETS, GROUPS, QUERIES, CLASSES = 4, 13, 300, 91
"""Of RF-DETR in training; queries of one group."""
BATCH, MOST = 4, 30
WEIGHTS = (2.0, 5.0, 2.0)
"""Of class, L1 distance and generalised IoU."""
ALPHA = 0.25
TOLERANCE = 1e-5
"""Of a problem's cost, relative: in float32 nearer optima are not told apart."""

Indices = Sequence[tuple[Tensor, Tensor]]
"""Of each image the queries, group after group, and the target of each."""


def case(setting: Setting) -> Case:
    """All groups of all sets, annotations packed in the call as everybody else's are."""
    batch, groups = setting.batch(BATCH), 2 if setting.is_quick else GROUPS
    shape = (SETS, groups * QUERIES, CLASSES)
    providers = ours(match_all, ["match"], setting.device)
    providers |= {
        "rfdetr": RF_DETR_MATCHER.provide_later(_at_once, read),
        "transformers": LW_DETR_MATCHER.provide_later(_layer_by_layer, read),
    }
    return Case(
        operator="matching",
        name=f"match-groups-{SETS}xB{batch}-G{groups}-T{MOST}",
        draws=[partial(scenes.draw_scene, setting, batch=batch, most=MOST, shape=shape)],
        providers=providers,
        error=excess,
        tolerance=TOLERANCE,
    )


def match_all(scene: Scene) -> Tensor:
    """The query of each target in each group, (A, G, T)."""
    matcher = vlp_fast.HungarianMatcher(*WEIGHTS, class_cost="focal", focal_alpha=ALPHA)
    targets = pack_targets(scene.annotations, scene.boxes.device)
    return matcher.match_slices(scene.logits, scene.boxes, None, targets, slices_of(scene))


def slices_of(scene: Scene) -> list[tuple[int, int]]:
    """First query of each group, and the one behind its last."""
    return [(first, first + QUERIES) for first in range(0, scene.boxes.shape[2], QUERIES)]


def _at_once(matcher: Callable[..., Any], scene: Scene) -> Sequence[Indices]:
    """As RF-DETR's criterion does since 1.10: all layers at once, or one by one if that fails."""
    theirs = matcher(*WEIGHTS, focal_alpha=ALPHA)
    given = _layers(scene, "pred_logits"), scene.annotations, len(slices_of(scene))
    found: Sequence[Indices] | None = theirs._match_many(*given)
    return found or [theirs(layer, *given[1:]) for layer in given[0]]


def _layer_by_layer(matcher: Callable[..., Any], scene: Scene) -> Sequence[Indices]:
    """As transformers' loss of LW-DETR does, whose alpha is 0.25."""
    theirs = matcher(*WEIGHTS)
    targets = [{"class_labels": one["labels"], "boxes": one["boxes"]} for one in scene.annotations]
    groups = len(slices_of(scene))
    return [theirs(layer, targets, groups) for layer in _layers(scene, "logits")]


def _layers(scene: Scene, name: str) -> list[dict[str, Tensor]]:
    layers = zip(scene.logits, scene.boxes, strict=True)
    return [{name: logits, "pred_boxes": boxes} for logits, boxes in layers]


def read(scene: Scene, solution: Sequence[Indices]) -> Tensor:
    """Pairs of all layers as (A, G, T) queries."""
    groups, counts = len(slices_of(scene)), scene.counts
    matches = torch.full((len(solution), groups, sum(counts)), -1)
    for layer, images in zip(matches, solution, strict=True):
        parts = layer.split(counts, dim=1)
        for part, (queries, numbers) in zip(parts, images, strict=True):
            part[queries // QUERIES, numbers] = queries
    return matches


def excess(scene: Scene, matches: Tensor) -> float:
    """How far the worst matrix is from its optimum in float64; infinite where it is no matching."""
    worst, slices = 0.0, slices_of(scene)
    for layer, of_layer in enumerate(matches.cpu()):
        for image, found in enumerate(of_layer.split(scene.counts, dim=1)):
            whole = cost(scene, layer, image)
            for (first, end), queries in zip(
                slices, found - torch.tensor(slices)[:, :1], strict=True
            ):
                matrix, chosen = whole[:, first:end], queries.tolist()
                if len({q for q in chosen if 0 <= q < QUERIES}) < len(chosen):
                    return float("inf")
                best = float(matrix[scipy_assignment(matrix)].sum())
                total = float(matrix[range(len(chosen)), chosen].sum())
                worst = max(worst, (total - best) / max(1.0, abs(best)))
    return worst


def cost(scene: Scene, layer: int, image: int) -> Tensor:
    """(n, Q) of each target of an image against its queries, in float64 on the host."""
    target = scene.annotations[image]
    logits, boxes = (x[layer, image].cpu().double() for x in (scene.logits, scene.boxes))
    labels, wanted = target["labels"].cpu(), target["boxes"].cpu().double()
    p = logits.sigmoid()[:, labels].T
    focal = (1 - ALPHA) * p**2 * (1 - p).log() - ALPHA * (1 - p) ** 2 * p.log()
    corners = (box_convert(x, "cxcywh", "xyxy") for x in (wanted, boxes))
    of_class, of_distance, of_giou = WEIGHTS
    giou: Tensor = generalized_box_iou(*corners)
    return of_class * focal + of_distance * torch.cdist(wanted, boxes, p=1) - of_giou * giou
