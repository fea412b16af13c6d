"""What a detector hands to its matcher, drawn: costs to solve, predictions and targets.

Counts of targets are uniform in [1, most]. Shapes: A decoder layers, B images, Q queries,
C classes, T targets in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vlp_fast import ops

from .case import Setting

COST_CLASS, COST_BBOX, COST_GIOU = 1.0, 5.0, 2.0
"""DETR's weights in training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Predictions of all decoder layers and the annotations of a batch."""

    logits: Tensor
    """(A, B, Q, C + 1)."""
    boxes: Tensor
    """(A, B, Q, 4), `(cx, cy, w, h)` in [0, 1]."""
    annotations: list[dict[str, Tensor]]
    """Of each image `labels` (n,) and `boxes` (n, 4), as DETR has them."""
    targets: ops.Targets
    """The same, packed."""


def draw_scene(
    setting: Setting, *, layers: int, batch: int, queries: int, classes: int, most: int, seed: int
) -> Scene:
    """Draw predictions and targets that know nothing of one another."""
    generator = setting.generator(seed)
    shape = (layers, batch, queries)
    annotations = [
        {
            "labels": torch.randint(classes, (n,), generator=generator, device=generator.device),
            "boxes": draw_boxes((n,), generator),
        }
        for n in draw_counts(batch, most, seed)
    ]
    packed = [(t["boxes"], t["labels"], torch.full_like(t["labels"], -1)) for t in annotations]
    return Scene(
        logits=torch.randn(*shape, classes + 1, generator=generator, device=generator.device),
        boxes=draw_boxes(shape, generator),
        annotations=annotations,
        targets=ops.make_targets(packed).to(setting.device),
    )


def draw_counts(batch: int, most: int, seed: int) -> list[int]:
    """Targets of each image, uniform in [1, most]."""
    generator = torch.Generator().manual_seed(seed)
    counts: list[int] = torch.randint(1, most + 1, (batch,), generator=generator).tolist()
    return counts


def draw_boxes(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Boxes (..., 4), `(cx, cy, w, h)` in [0, 1]."""
    numbers = torch.rand(*shape, 4, generator=generator, device=generator.device)
    return torch.cat([numbers[..., :2], 0.02 + 0.5 * numbers[..., 2:]], -1)


def box_costs(count: int, queries: int, generator: torch.Generator) -> Tensor:
    """DETR's box terms between random boxes: (count, queries)."""
    targets, predictions = draw_boxes((count,), generator), draw_boxes((queries,), generator)
    distance = torch.cdist(targets, predictions, p=1)
    giou = ops.boxes.pairwise_giou(
        ops.boxes.cxcywh_to_xyxy(targets), ops.boxes.cxcywh_to_xyxy(predictions)
    )
    return COST_BBOX * distance - COST_GIOU * giou


def uniform_costs(count: int, queries: int, generator: torch.Generator) -> Tensor:
    """Independent numbers in [0, 1): (count, queries)."""
    return torch.rand(count, queries, generator=generator, device=generator.device)


def untrained_costs(count: int, queries: int, generator: torch.Generator) -> Tensor:
    """All queries alike but for a thousandth, the hardest case: (count, queries)."""
    of_target = torch.rand(count, 1, generator=generator, device=generator.device)
    of_query = torch.rand(1, queries, generator=generator, device=generator.device)
    return of_target + 1e-3 * (of_query + uniform_costs(count, queries, generator))


def trained_costs(count: int, queries: int, generator: torch.Generator) -> Tensor:
    """Each target has a query of its own that fits: (count, queries)."""
    order = torch.randperm(queries, generator=generator, device=generator.device)[:count]
    return uniform_costs(count, queries, generator).scatter(1, order[:, None], -1.0)


COSTS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "boxes": box_costs,
    "uniform": uniform_costs,
    "untrained": untrained_costs,
    "trained": trained_costs,
}
"""Kinds of costs by name."""
