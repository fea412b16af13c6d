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
    """

    def __init__(self, device: torch.device) -> None:
        self.in_a_row = torch.zeros((), device=device)

    def count(self, is_finite: Tensor) -> Tensor:
        """Another step; () float32, 1 if it was skipped.

        Args:
            is_finite: () bool, whether losses, gradients and statistics were.
        """
        is_skipped = 1.0 - is_finite.float()
        self.in_a_row = (self.in_a_row + 1) * is_skipped
        return is_skipped

    def go_on_from(self, in_a_row: int) -> None:
        """So many were in a row when a checkpoint was written."""
        self.in_a_row = torch.full_like(self.in_a_row, in_a_row)
