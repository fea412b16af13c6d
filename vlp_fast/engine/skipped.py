"""Steps that moved nothing, counted on the device: nobody waits to know."""

from __future__ import annotations

import torch
from torch import Tensor


class Skipped:
    """Counts the steps of a run that were skipped, since something was not finite.

    Args:
        device: where the steps are computed.

    Attributes:
        in_a_row: () float32, the latest steps, up to the last one.
        scale: () float32 that the losses of the latest step were multiplied by.
    """

    def __init__(self, device: torch.device) -> None:
        self.in_a_row = torch.zeros((), device=device)
        self.scale = torch.ones((), device=device)
        self._odd = torch.full((2,), -1.0, dtype=torch.float64, device=device)

    def count(self, position: int, *, is_finite: Tensor, is_odd: Tensor, scale: Tensor) -> Tensor:
        """Another step; () float32, 1 if it was skipped.

        Args:
            position: of the step in the order of the samples.
            is_finite: () bool, whether losses, gradients and statistics were.
            is_odd: () bool, whether another scale of the losses would not have helped.
            scale: () float32 that the losses were multiplied by.
        """
        is_skipped = 1.0 - is_finite.float()
        self.in_a_row = (self.in_a_row + 1) * is_skipped
        self.scale = scale
        this = torch.stack([torch.full_like(scale, position, dtype=torch.float64), scale.double()])
        self._odd = torch.where(is_odd & (self._odd[0] < 0), this, self._odd)
        return is_skipped

    def odd(self) -> tuple[int, float] | None:
        """Position and scale of the first odd step so far, if there is one; waits."""
        position, scale = self._odd.tolist()
        return None if position < 0 else (int(position), scale)

    def go_on_from(self, in_a_row: int) -> None:
        """So many were in a row when a checkpoint was written."""
        self.in_a_row = torch.full_like(self.in_a_row, in_a_row)
