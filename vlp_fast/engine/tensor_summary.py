"""What a tensor holds, in four numbers: for a person who looks for what is not finite."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of one tensor, or of several.

    Attributes:
        count: numbers.
        non_finite: those of them that are NaN or infinite.
        low, high: the least and the largest of the others; None where there is no other.
    """

    count: int = 0
    non_finite: int = 0
    low: float | None = None
    high: float | None = None

    def __add__(self, other: Summary) -> Summary:
        """Of both."""
        lows = [x for x in (self.low, other.low) if x is not None]
        highs = [x for x in (self.high, other.high) if x is not None]
        return Summary(
            count=self.count + other.count,
            non_finite=self.non_finite + other.non_finite,
            low=min(lows, default=None),
            high=max(highs, default=None),
        )

    @property
    def largest(self) -> float:
        """The largest magnitude of the finite numbers; 0 where there is none."""
        return max(abs(self.low or 0.0), abs(self.high or 0.0))

    def state(self) -> dict[str, int | float | None]:
        """For json."""
        return asdict(self)


def summary_of(x: Tensor) -> Summary:
    """Look at a floating tensor; waits for its device."""
    x = x.detach()
    is_finite = x.isfinite()
    finite = int(is_finite.sum())
    if finite == 0:
        return Summary(count=x.numel(), non_finite=x.numel())
    low = torch.where(is_finite, x, torch.inf).amin()
    high = torch.where(is_finite, x, -torch.inf).amax()
    missing = x.numel() - finite
    return Summary(count=x.numel(), non_finite=missing, low=float(low), high=float(high))


def broken_rows(x: Tensor) -> list[int]:
    """Which rows of the first dimension hold something that is not finite; waits."""
    is_broken = x.detach().isfinite().logical_not().flatten(1).any(dim=1)
    return is_broken.nonzero().flatten().tolist()
