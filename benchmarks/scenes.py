"""What a detector hands to its matcher, drawn: costs to solve, predictions and targets.

Counts of targets are uniform in [1, most]. Shapes: A decoder layers, B images, Q queries,
C classes, T targets in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlp_fast import ops

from .case import Setting

COST_CLASS, COST_BBOX, COST_GIOU = 1.0, 5.0, 2.0
WEIGHTS: dict[str, Any] = {
    "cost_class": COST_CLASS,
    "cost_bbox": COST_BBOX,
    "cost_giou": COST_GIOU,
}
"""DETR's weights in training."""
LAYERS, QUERIES, CLASSES = 6, 100, 91


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Predictions of all decoder layers and the annotations of a batch."""

    logits: Tensor
    """(A, B, Q, C + 1)."""
    boxes: Tensor
    """(A, B, Q, 4), `(cx, cy, w, h)` in [0, 1]."""
    annotations: list[dict[str, Tensor]]
    """Of each image `labels` (n,) and `boxes` (n, 4), as DETR has them."""

    @property
    def counts(self) -> list[int]:
        """Targets of each image."""
        return [len(target["labels"]) for target in self.annotations]


def draw_scene(
    setting: Setting,
    *,
    batch: int,
    most: int,
    seed: int = 0,
    shape: tuple[int, int, int] = (LAYERS, QUERIES, CLASSES),
) -> Scene:
    """Draw predictions and targets that know nothing of one another; `shape` is (A, Q, C)."""
    generator, (layers, queries, classes) = setting.generator(seed), shape
    annotations = [
        {
            "labels": torch.randint(classes, (n,), generator=generator, device=generator.device),
            "boxes": draw_boxes((n,), generator),
        }
        for n in draw_counts(batch, most, seed)
    ]
    size = (layers, batch, queries)
    return Scene(
        logits=torch.randn(*size, classes + 1, generator=generator, device=generator.device),
        boxes=draw_boxes(size, generator),
        annotations=annotations,
    )


def draw_counts(batch: int, most: int, seed: int = 0) -> list[int]:
    """Targets of each image, uniform in [1, most]."""
    generator = torch.Generator().manual_seed(seed)
    counts: list[int] = torch.randint(1, most + 1, (batch,), generator=generator).tolist()
    return counts


def draw_boxes(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Boxes (..., 4), `(cx, cy, w, h)` in [0, 1]."""
    numbers = torch.rand(*shape, 4, generator=generator, device=generator.device)
    return torch.cat([numbers[..., :2], 0.02 + 0.5 * numbers[..., 2:]], -1)


def _uniform_costs(count: int, queries: int, generator: torch.Generator) -> Tensor:
    """Independent numbers in [0, 1)."""
    return torch.rand(count, queries, generator=generator, device=generator.device)


def _box_costs(count: int, queries: int, generator: torch.Generator) -> Tensor:
    """DETR's box terms between random boxes."""
    targets, predictions = draw_boxes((count,), generator), draw_boxes((queries,), generator)
    distance = torch.cdist(targets, predictions, p=1)
    corners = (ops.boxes.cxcywh_to_xyxy(boxes) for boxes in (targets, predictions))
    return COST_BBOX * distance - COST_GIOU * ops.boxes.pairwise_giou(*corners)


def _untrained_costs(count: int, queries: int, generator: torch.Generator) -> Tensor:
    """All queries alike but for a thousandth, the hardest case."""
    of_target, of_query = _uniform_costs(count, 1, generator), _uniform_costs(1, queries, generator)
    return of_target + 1e-3 * (of_query + _uniform_costs(count, queries, generator))


def _trained_costs(count: int, queries: int, generator: torch.Generator) -> Tensor:
    """Each target has a query of its own that fits."""
    order = torch.randperm(queries, generator=generator, device=generator.device)[:count]
    return _uniform_costs(count, queries, generator).scatter(1, order[:, None], -1.0)


COSTS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "boxes": _box_costs,
    "uniform": _uniform_costs,
    "untrained": _untrained_costs,
    "trained": _trained_costs,
}
"""Kinds of costs (count, queries) by name."""
