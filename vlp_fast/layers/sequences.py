"""How packed rows divide into sequences: what attention asks of a `Packing`, and plain spans."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Sequences(Protocol):
    """How packed rows divide into sequences: all that attention asks of a `Packing`."""

    @property
    def cu_seqlens(self) -> Tensor:
        """(S + 1,) int32: where each sequence begins, and where the last ends."""

    @property
    def max_length(self) -> int:
        """Rows of the longest sequence (or a bound on them), known to the host."""

    @property
    def longest_first(self) -> Tensor | None:
        """(S,) int32: the sequences in the order in which to begin them; any if None."""


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Sequences without further structure, such as object queries or one step of decoding."""

    cu_seqlens: Tensor
    max_length: int
    longest_first: Tensor | None = None

    @classmethod
    def uniform(cls, num_sequences: int, length: int, device: torch.device) -> "Spans":
        """Returns equally long sequences; made on the device, so that no copy is waited for."""
        starts = torch.arange(num_sequences + 1, dtype=torch.int32, device=device) * length
        return cls(cu_seqlens=starts, max_length=length)
