"""Objects of a picture, drawn: a detector with random weights scores as if it had found them.

How long suppression takes depends on the scores: random ones suppress next to nothing. These are
high where a box overlaps an object, and highest for the object's two names (Visual Genome calls one
thing man and person); all other classes share the rest at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

SMALLEST, LARGEST = 1 / 20, 0.35
"""Side of an object, by the shorter side of the picture."""
NAMES = (0.6, 0.3)
"""Shares of an object's two names in the score of a box that is exactly its own."""
OTHERS = 0.1
"""Share of all other classes together, of background included."""
SHARPNESS = 8.0
"""Logit of a proposal per intersection over union."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """Of one picture.

    Attributes:
        boxes: (N, 4) corners, in pixels.
        names: (N, 2) int64 classes, from 1.
        noise: (R, C + 1) logits of R boxes, log-normalised to a sum of probabilities of 1.
    """

    boxes: Tensor
    names: Tensor
    noise: Tensor

    def objectness(self, anchors: Tensor) -> Tensor:
        """Logits (A,) of anchors (A, 4)."""
        logits: Tensor = SHARPNESS * (box_iou(anchors, self.boxes).amax(1) - 0.5)
        return logits

    def class_logits(self, boxes: Tensor) -> Tensor:
        """Logits (R, C + 1) of boxes (R, 4); class 0 is background."""
        overlap, nearest = box_iou(boxes, self.boxes).max(1)
        logits = self.noise[: len(boxes)].clone()
        shares = torch.stack([1 - overlap, *(share * overlap for share in NAMES)], dim=1)
        names = self.names[nearest]
        places = torch.cat([torch.zeros_like(names[:, :1]), names], dim=1)
        logits.scatter_(1, places, (shares.clamp(min=1e-4) / OTHERS).log())
        return logits


def draw_objects(
    size: tuple[int, int], *, count: int, boxes: int, classes: int, seed: int = 0
) -> Objects:
    """Draw objects on the CPU.

    Args:
        size: (height, width) of the picture.
        count: N.
        boxes: R, that will be scored.
        classes: C, without background.
        seed: of the draw.
    """
    draw = torch.Generator().manual_seed(seed)
    height, width = size
    sides = torch.rand(count, 2, generator=draw) * (LARGEST - SMALLEST) + SMALLEST
    sides *= min(size)
    room = torch.tensor([width, height]) - sides
    corners = torch.rand(count, 2, generator=draw) * room
    noise = torch.randn(boxes, classes + 1, generator=draw)
    first = torch.randint(1, classes, (count,), generator=draw)
    names = torch.stack([first, first + 1], dim=1)
    return Objects(
        boxes=torch.cat([corners, corners + sides], dim=1),
        names=names,
        noise=noise.log_softmax(1),
    )
