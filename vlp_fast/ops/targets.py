"""Annotated boxes of a batch, packed image after image: what predictions are matched with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlp_fast.ops.grid import moved


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Annotated boxes of a batch of B images, packed image after image: T in all."""

    boxes: Tensor
    """(T, 4) float32, `(cx, cy, w, h)` in [0, 1]."""
    labels: Tensor
    """(T,) int64."""
    attributes: Tensor
    """(T,) int64, -1 where none is annotated."""
    cu_targets: Tensor
    """(B + 1,) int32, first target of each image, then T."""
    image_of: Tensor
    """(T,) int64."""
    counts: tuple[int, ...]
    """Targets of each image, on the host."""
    max_count: int
    """The most of them, on the host."""

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Targets":
        """Copy the annotations to another device; counts stay on the host."""
        return moved(self, device, non_blocking)


def make_targets(images: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Targets:
    """Pack `(boxes (n, 4), labels (n,), attributes (n,))` of each image; n may be 0.

    What tells the images apart is made on the host: `.to` brings it to the annotations' device.

    Raises:
        ValueError: the three of an image differ in n.
    """
    for image, (boxes, labels, attributes) in enumerate(images):
        if boxes.shape != (len(labels), 4) or labels.shape != attributes.shape:
            raise ValueError(
                f"make_targets: received boxes {tuple(boxes.shape)}, labels {tuple(labels.shape)} "
                f"and attributes {tuple(attributes.shape)} for image {image}, expected (n, 4), "
                "(n,) and (n,)"
            )
    counts = tuple(len(labels) for _, labels, _ in images)
    lengths = torch.tensor([0, *counts], device="cpu")
    device = images[0][0].device if images else None
    none = torch.empty(0, 4, dtype=torch.float32, device=device)
    return Targets(
        boxes=torch.cat([none, *(boxes.float() for boxes, _, _ in images)]),
        labels=torch.cat([none[:, 0].long(), *(labels.long() for _, labels, _ in images)]),
        attributes=torch.cat([none[:, 0].long(), *(values.long() for _, _, values in images)]),
        cu_targets=lengths.cumsum(0).int(),
        image_of=torch.arange(len(counts), device="cpu").repeat_interleave(
            lengths[1:], output_size=sum(counts)
        ),
        counts=counts,
        max_count=max((0, *counts)),
    )
