"""What an objective makes of a batch: losses and counts, still on the device."""

from __future__ import annotations

from dataclasses import dataclass, field

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
