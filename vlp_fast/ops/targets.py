"""Annotated boxes of a batch, packed image after image: what predictions are matched with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from vlp_fast.ops.grid import moved

Annotation = tuple[Tensor, Tensor, Tensor] | Mapping[str, Tensor]

_SHAPES = {"boxes": "(n, 4)", "labels": "(n,)", "attributes": "(n,)"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Annotated boxes of a batch of B images, packed image after image: T in all.

    Raises:
        ValueError: the parts disagree; kernels trust them.
    """

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
    """The most of them, or more, on the host."""

    def __post_init__(self) -> None:
        """Refuse parts that disagree; inside of a compiled graph nobody looks."""
        if not torch.compiler.is_compiling() and (found := _disagreement(self)):
            raise ValueError(
                f"Targets: received {found} for counts {self.counts}; pack annotations by "
                "ops.make_targets"
            )

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Targets":
        """Copy the annotations to another device; counts stay on the host."""
        return moved(self, device, non_blocking)


def make_targets(images: Sequence[Annotation]) -> Targets:
    """Pack the boxes (n, 4), labels (n,) and attributes (n,) of each image; n may be 0.

    What tells the images apart is made on the host: `.to` brings it to the annotations' device.

    Args:
        images: of each `(boxes, labels, attributes)`, or a dictionary with these keys as DETR has
            it, where attributes may be missing: none are annotated then.

    Raises:
        ValueError: a shape is another, or the three of an image differ in n.
        TypeError: something else than tensors.
    """
    parts = [_parts(image, number) for number, image in enumerate(images)]
    counts = tuple(labels.shape[0] for _, labels, _ in parts)
    lengths = torch.tensor([0, *counts], device="cpu")
    device = parts[0][0].device if parts else "cpu"
    none = torch.empty(0, 4, dtype=torch.float32, device=device)
    return Targets(
        boxes=torch.cat([none, *(boxes.float() for boxes, _, _ in parts)]),
        labels=torch.cat([none[:, 0].long(), *(labels.long() for _, labels, _ in parts)]),
        attributes=torch.cat([none[:, 0].long(), *(values.long() for _, _, values in parts)]),
        cu_targets=lengths.cumsum(0).int(),
        image_of=torch.arange(len(counts), device="cpu").repeat_interleave(
            lengths[1:], output_size=sum(counts)
        ),
        counts=counts,
        max_count=max((0, *counts)),
    )


def _parts(image: Annotation, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, labels and attributes of an image, refused if they are not (n, 4), (n,) and (n,)."""
    if isinstance(image, Mapping):
        named = dict(image)
    else:
        named = dict(zip(("boxes", "labels", "attributes"), image, strict=True))
    for name, shape in _SHAPES.items():
        given = named.get(name)
        is_needed = name in named or name != "attributes"
        if is_needed and not isinstance(given, Tensor):
            raise TypeError(
                f"make_targets: received {name} of {type(given).__name__} for image {number}, "
                f"expected a tensor {shape}; make one by torch.tensor"
            )
    boxes, labels = named["boxes"], named["labels"]
    attributes = named["attributes"] if "attributes" in named else torch.full_like(labels, -1)
    count = labels.shape[:1]
    if labels.ndim != 1 or boxes.shape != (*count, 4) or attributes.shape != count:
        raise ValueError(
            f"make_targets: received boxes {tuple(boxes.shape)}, labels {tuple(labels.shape)} "
            f"and attributes {tuple(attributes.shape)} for image {number}, expected (n, 4), "
            "(n,) and (n,); flatten labels"
        )
    return boxes, labels, attributes


def _disagreement(targets: Targets) -> str:
    """What is not as the counts of the targets say, and what they say; nothing if all is."""
    counts = targets.counts
    total, starts = sum(counts), [0, *accumulate(counts)]
    shapes = {
        "boxes": (total, 4),
        "labels": (total,),
        "attributes": (total,),
        "image_of": (total,),
        "cu_targets": (len(starts),),
    }
    for name, shape in shapes.items():
        if tuple(getattr(targets, name).shape) != shape:
            return f"{name} {tuple(getattr(targets, name).shape)}, expected {shape}"
    if targets.max_count < max(counts, default=0):
        return f"max_count {targets.max_count}, expected {max(counts)}"
    # Values on a GPU would be a wait for it; subclasses of Tensor may have none.
    for name, expected in (("cu_targets", starts), ("image_of", _owners(counts))):
        held = getattr(targets, name)
        if type(held) is Tensor and held.device.type == "cpu" and held.tolist() != expected:
            return f"{name} {held.tolist()}, expected {expected}"
    return ""


def _owners(counts: Sequence[int]) -> list[int]:
    return [image for image, count in enumerate(counts) for _ in range(count)]
