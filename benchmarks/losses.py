"""DETR's whole criterion, matching included, forward and backward, from the same predictions.

Names of cases: `6x` decoder layers, `B` images with 1 to `T` targets each, 100 queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import vlp_fast

from . import detr, scenes
from .case import Case, Provider, Setting, ours, relative
from .scenes import Scene

WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
TOLERANCE = 1e-3
"""Of losses and gradients, relative to the largest of each in float64."""

Losses = Mapping[str, Tensor]
Criterion = Callable[[Tensor, Tensor], Losses]
Solution = tuple[Losses, tuple[Tensor, ...]]
"""Losses by name, and the gradients of logits and boxes."""


def cases(setting: Setting) -> list[Case]:
    """The one case of the losses."""
    batch = setting.batch(32)
    case = Case(
        operator="losses",
        name=f"criterion-6xB{batch}-T30",
        draws=[partial(scenes.draw_scene, setting, batch=batch, most=30)],
        direction="forward+backward",
        providers={
            **ours(_run, ["match"], setting.device, prepare=_by_ours),
            "DETR": Provider(_run, prepare=lambda scene: (scene, partial(detr.losses, scene))),
        },
        error=difference,
        tolerance=TOLERANCE,
    )
    return [case]


def difference(scene: Scene, solution: Solution) -> float:
    """The largest difference of a loss or a gradient from float64, relative to its largest."""
    annotations = [{**one, "boxes": one["boxes"].double()} for one in scene.annotations]
    logits, boxes = scene.logits.double(), scene.boxes.double()
    exact = replace(scene, logits=logits, boxes=boxes, annotations=annotations)
    losses, gradients = _run((exact, partial(detr.losses, exact)))
    pairs = [(solution[0][name], expected) for name, expected in losses.items()]
    pairs += zip(solution[1], gradients, strict=True)
    return max(relative(value.detach(), expected.detach()) for value, expected in pairs)


def _by_ours(scene: Scene) -> tuple[Scene, Criterion]:
    matcher = vlp_fast.HungarianMatcher(**scenes.WEIGHTS)
    kinds = ("labels", "boxes", "cardinality")
    criterion = vlp_fast.SetCriterion(scenes.CLASSES, matcher, WEIGHTS, detr.EOS_COEF, kinds)
    criterion.to(scene.boxes.device)

    def losses(logits: Tensor, boxes: Tensor) -> Losses:
        layers = [
            {"pred_logits": of_logits, "pred_boxes": of_boxes}
            for of_logits, of_boxes in zip(logits, boxes, strict=True)
        ]
        outputs: dict[str, object] = {**layers[-1], "aux_outputs": layers[:-1]}
        found: Losses = criterion(outputs, scene.annotations)
        return found

    return scene, losses


def _run(prepared: tuple[Scene, Criterion]) -> Solution:
    scene, losses_of = prepared
    logits, boxes = (x.detach().requires_grad_() for x in (scene.logits, scene.boxes))
    losses = losses_of(logits, boxes)
    weights = {name: WEIGHTS.get(name.rstrip("_0123456789"), 0.0) for name in losses}
    weighted = [weight * losses[name] for name, weight in weights.items() if weight]
    return losses, torch.autograd.grad(torch.stack(weighted).sum(), (logits, boxes))
