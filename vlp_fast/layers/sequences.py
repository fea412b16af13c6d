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
    def num_rows(self) -> int:
        """T, the rows of all sequences, known to the host."""

    @property
    def max_length(self) -> int:
        """Rows of the longest sequence (or a bound on them), known to the host."""

    @property
    def longest_first(self) -> Tensor | None:
        """(S,) int32: the sequences in the order in which to begin them; any if None."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spans:
    """Sequences without further structure, such as object queries or one step of decoding."""

    cu_seqlens: Tensor
    num_rows: int
    max_length: int
    longest_first: Tensor | None = None

    @classmethod
    def uniform(cls, num_sequences: int, length: int, device: torch.device) -> "Spans":
        """Returns equally long sequences; made on the device, so that no copy is waited for."""
        starts = torch.arange(num_sequences + 1, dtype=torch.int32, device=device) * length
        return cls(cu_seqlens=starts, num_rows=num_sequences * length, max_length=length)


def check_rows(name: str, rows: Tensor, sequences: Sequences) -> None:
    """Refuses rows (T, ...) of which there are not as many as the sequences say.

    Kernels trust the sequences, and would read or write beyond the rows. Inside of a compiled graph
    nobody looks: the lengths of a `Packing` would be constants of the graph.

    Raises:
        ValueError: so; known to the host, so nothing waits for the device.
    """
    if torch.compiler.is_compiling():
        return
    if rows.shape[0] != sequences.num_rows:
        raise ValueError(
            f"{name}: received {rows.shape[0]} rows, expected {sequences.num_rows}, as the packing "
            "says; pass the packing that the rows were packed by"
        )
