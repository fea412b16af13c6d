"""What every objective hands to the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """Losses and counts of one step, all still on the device.

    Attributes:
        losses: scalar tensors; their sum is what is minimised (both papers weigh all equally).
        parts: scalar tensors that are shown but not added (they are inside a loss already).
        counts: name -> (numerator, denominator) scalars; a ratio over many steps is the
            quotient of the two sums, so that batches of different size weigh as they should.
    """

    losses: dict[str, Tensor]
    parts: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of all losses, a float32 scalar."""
        return torch.stack([loss.float() for loss in self.losses.values()]).sum()


class Inputs:
    """Base of the records that a collate function makes: dataclasses of tensors and records."""

    def to(self, device: torch.device) -> Self:
        """Copy every tensor to the device without waiting, images as channels-last."""

        def move(value: Tensor) -> Tensor:
            layout = torch.channels_last if value.dim() == 4 else torch.preserve_format
            return value.to(device, non_blocking=True, memory_format=layout)

        moved: Self = _mapped(self, move)
        return moved

    def pin_memory(self) -> Self:
        """Copy every tensor to page-locked memory, from which a GPU copies without waiting."""
        pinned: Self = _mapped(self, Tensor.pin_memory)
        return pinned


def _mapped(record: Any, function: Callable[[Tensor], Tensor]) -> Any:
    changed = {}
    for entry in fields(record):
        value = getattr(record, entry.name)
        if isinstance(value, Tensor):
            changed[entry.name] = function(value)
        elif is_dataclass(value):
            changed[entry.name] = _mapped(value, function)
    return replace(record, **changed)


def mean_cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy in float32, averaged over the rows, and 0 (not NaN) where there is no row.

    Args:
        logits: (M, V) in any floating dtype.
        targets: (M,) int64.
        label_smoothing: share of the target's probability spread over all classes.
    """
    summed = functional.cross_entropy(
        logits.float(), targets, reduction="sum", label_smoothing=label_smoothing
    )
    return summed / max(targets.numel(), 1)


def accuracy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How many rows have their largest logit at the target, and how many rows there are."""
    right = (logits.argmax(dim=-1) == targets).sum()
    return right, torch.full_like(right, targets.numel())
