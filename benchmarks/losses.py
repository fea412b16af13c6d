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

from . import detr
from .case import Case, Cases, Provider, Setting, ours
from .problems import COST_BBOX, COST_CLASS, COST_GIOU, Scene, draw_scene

QUERIES, CLASSES, LAYERS = 100, 91, 6
EOS_COEF = 0.1
WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
TOLERANCE = 1e-3
"""Of losses and gradients, relative to the largest of each in float64."""

Losses = Mapping[str, Tensor]
Solution = tuple[Losses, tuple[Tensor, ...]]
"""Losses by name, and the gradients of logits and boxes."""


def cases(setting: Setting) -> Cases:
    """The cases of the losses by name."""
    batch = setting.batch(32)
    name = f"criterion-6xB{batch}-T30"
    return {name: partial(_criterion, setting, name, batch)}


def _criterion(setting: Setting, name: str, batch: int) -> Case:
    scene = draw_scene(
        setting,
        layers=LAYERS,
        batch=batch,
        queries=QUERIES,
        classes=CLASSES,
        most=30,
        seed=0,
    )
    run = partial(_forward_backward, scene, _our_losses(scene))
    operators = ["match"]
    exact = _in_float64(scene)
    truth = _forward_backward(exact, _detr_losses(exact))
    return Case(
        operator="losses",
        name=name,
        direction="forward+backward",
        providers={
            **ours(run, operators, setting.device),
            "DETR": Provider(run=partial(_forward_backward, scene, _detr_losses(scene))),
        },
        error=lambda solution: _difference(solution, truth),
        tolerance=TOLERANCE,
    )


def _our_losses(scene: Scene) -> Callable[[Tensor, Tensor], Losses]:
    matcher = vlp_fast.HungarianMatcher(COST_CLASS, COST_BBOX, COST_GIOU)
    kinds = ("labels", "boxes", "cardinality")
    criterion = vlp_fast.SetCriterion(CLASSES, matcher, WEIGHTS, EOS_COEF, kinds)
    criterion.to(scene.boxes.device)

    def losses(logits: Tensor, boxes: Tensor) -> Losses:
        layers = [
            {"pred_logits": of_logits, "pred_boxes": of_boxes}
            for of_logits, of_boxes in zip(logits, boxes, strict=True)
        ]
        outputs: dict[str, object] = {**layers[-1], "aux_outputs": layers[:-1]}
        found: Losses = criterion(outputs, scene.annotations)
        return found

    return losses


def _detr_losses(scene: Scene) -> Callable[[Tensor, Tensor], Losses]:
    criterion = detr.Criterion(CLASSES, EOS_COEF, str(scene.boxes.device))
    return lambda logits, boxes: criterion(logits, boxes, scene.annotations)


def _in_float64(scene: Scene) -> Scene:
    annotations = [{**one, "boxes": one["boxes"].double()} for one in scene.annotations]
    logits, boxes = scene.logits.double(), scene.boxes.double()
    return replace(scene, logits=logits, boxes=boxes, annotations=annotations)


def _forward_backward(scene: Scene, losses_of: Callable[[Tensor, Tensor], Losses]) -> Solution:
    logits, boxes = (x.detach().requires_grad_() for x in (scene.logits, scene.boxes))
    losses = losses_of(logits, boxes)
    total = sum(
        (WEIGHTS[kind] * loss for name, loss in losses.items() if (kind := _kind(name)) in WEIGHTS),
        torch.zeros((), device=logits.device),
    )
    return losses, torch.autograd.grad(total, (logits, boxes))


def _kind(name: str) -> str:
    """A loss's name without the number of its layer."""
    return name.rstrip("0123456789").removesuffix("_")


def _difference(solution: Solution, truth: Solution) -> float:
    """The largest difference of a loss or a gradient, relative to its largest value."""
    losses, gradients = solution
    pairs = [(losses[name], expected) for name, expected in truth[0].items()]
    pairs += list(zip(gradients, truth[1], strict=True))
    return max(_relative(value.detach(), expected.detach()) for value, expected in pairs)


def _relative(value: Tensor, expected: Tensor) -> float:
    return float((value - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
