"""Multi-head attention over packed sequences, with positions for grid cells (DETR's rule).

    q = query(x + positions)    k = key(x + positions)    v = value(x)

`GridAttention` attends within each sequence, `CrossAttention` from the sequences of one packing to
those of another. Different from `nn.MultiheadAttention`: rows of all sequences lie end to end
instead of padded, positions never enter the values, and `num_heads * head_dim` need not be the
width.

Shape suffixes: T rows of all sequences, S sequences, L padded length, D width, N heads, E head
width.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from vlp_fast.ops.attention import attention


class Sequences(Protocol):
    """How packed rows divide into sequences: all that attention asks of a `Packing`."""

    @property
    def cu_seqlens(self) -> Tensor:
        """(S + 1,) int32: where each sequence begins, and where the last ends."""

    @property
    def max_length(self) -> int:
        """Rows of the longest sequence (or a bound on them), known to the host."""


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Sequences without further structure, such as object queries or one step of decoding."""

    cu_seqlens: Tensor
    max_length: int

    @classmethod
    def uniform(cls, num_sequences: int, length: int, device: torch.device) -> "Spans":
        """Returns equally long sequences; made on the device, so that no copy is waited for."""
        starts = torch.arange(num_sequences + 1, dtype=torch.int32, device=device) * length
        return cls(cu_seqlens=starts, max_length=length)


class MultiHeadProjections(nn.Module):
    """The four projections of attention and what happens between them; see its two subclasses.

    Args:
        width: D, features per row, in and out.
        num_heads: N.
        head_dim: E; width / num_heads if None.
        dropout: rate on the attention weights while training.

    Raises:
        ValueError: if head_dim is None and num_heads does not divide width.
    """

    def __init__(
        self, width: int, num_heads: int, head_dim: int | None = None, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = _head_dim(width, num_heads) if head_dim is None else head_dim
        self.dropout = dropout
        inner = num_heads * self.head_dim
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def project(self, memory: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Computes keys and values (T, N, E) of rows (T, D): what a step-wise decoder keeps."""
        keys = self._split(self.key(_add(memory, positions)))
        return keys, self._split(self.value(memory))

    def attend(
        self,
        x: Tensor,
        sequences: Sequences,
        keys: Tensor,
        values: Tensor,
        memory_sequences: Sequences,
        *,
        positions: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attends from rows x to projected keys and values.

        Args:
            x: (T, D) float, rows that ask.
            sequences: of x, S of them.
            keys: (Tm, N, E).
            values: (Tm, N, E).
            memory_sequences: of keys and values, S of them.
            positions: (T, D), added to x in front of `query`; none if None.
            causal: a sequence's last row sees all of its keys, the row before all but the last key,
                and so on.

        Returns:
            (T, D).
        """
        rate = self.dropout if self.training else 0.0
        mixed_TNE = attention(
            self._split(self.query(_add(x, positions))),
            keys,
            values,
            sequences.cu_seqlens,
            memory_sequences.cu_seqlens,
            max_seqlen_q=sequences.max_length,
            max_seqlen_k=memory_sequences.max_length,
            causal=causal,
            dropout_p=rate,
        )
        out_TD: Tensor = self.output(mixed_TNE.flatten(1))
        return out_TD

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_heads, self.head_dim)


class CrossAttention(MultiHeadProjections):
    """Attends from each sequence of one packing to the same-numbered sequence of another."""

    def forward(
        self,
        x: Tensor,
        sequences: Sequences,
        memory: Tensor,
        memory_sequences: Sequences,
        *,
        query_positions: Tensor | None = None,
        memory_positions: Tensor | None = None,
    ) -> Tensor:
        """Computes one row of attention for every row of x.

        Args:
            x: (T, D) float, rows that ask.
            sequences: of x, S of them; a `Packing`, for example.
            memory: (Tm, D) float, rows that answer.
            memory_sequences: of the memory, S of them.
            query_positions: (T, D), added to x in front of `query`; none if None.
            memory_positions: (Tm, D), added to the memory in front of `key`, not of `value`.

        Returns:
            (T, D).
        """
        keys, values = self.project(memory, memory_positions)
        return self.attend(x, sequences, keys, values, memory_sequences, positions=query_positions)


class GridAttention(MultiHeadProjections):
    """Attends within each sequence of text tokens and grid cells.

    >>> layer = vlp_fast.GridAttention(256, num_heads=8)
    >>> y = layer(x, packing, positions=sine)        # packed: (T, D) in, (T, D) out
    >>> y = layer(x, key_padding_mask=is_padding)    # padded: (S, L, D) in, (S, L, D) out
    """

    def forward(
        self,
        x: Tensor,
        packing: Sequences | None = None,
        *,
        positions: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Computes self-attention of packed or padded rows.

        Args:
            x: (T, D) float packed, or (S, L, D) padded.
            packing: sequences of packed rows; None for padded ones.
            positions: shaped like x, added in front of `query` and `key`, not of `value`.
            key_padding_mask: (S, L) bool for padded rows, True on padding, which may lie anywhere;
                no padding if None.
            causal: a row sees itself and earlier rows of its sequence only.

        Returns:
            Like x; rows of padding are zero, whatever they held.

        Raises:
            ValueError: if packed rows come without a packing or with a mask, or padded rows with a
                packing.
        """
        if x.dim() == 2 and packing is not None and key_padding_mask is None:
            return self._packed(x, packing, positions, causal)
        if x.dim() == 3 and packing is None:
            return self._padded(x, key_padding_mask, positions, causal)
        raise ValueError(
            f"GridAttention: received rows of shape {tuple(x.shape)} "
            f"{'without' if packing is None else 'with'} a packing and "
            f"{'without' if key_padding_mask is None else 'with'} a key_padding_mask, expected "
            "(T, D) with a packing, or (S, L, D) with or without a mask; pass one of the two"
        )

    def _packed(
        self, x: Tensor, sequences: Sequences, positions: Tensor | None, causal: bool
    ) -> Tensor:
        keys, values = self.project(x, positions)
        return self.attend(
            x, sequences, keys, values, sequences, positions=positions, causal=causal
        )

    def _padded(
        self, x: Tensor, is_padding: Tensor | None, positions: Tensor | None, causal: bool
    ) -> Tensor:
        positions = None if positions is None else positions.expand_as(x)
        if is_padding is None:
            spans = Spans.uniform(x.shape[0], x.shape[1], x.device)
            flat = None if positions is None else positions.flatten(0, 1)
            return self._packed(x.flatten(0, 1), spans, flat, causal).view_as(x)
        rows, spans = _sort_padding_last(is_padding)
        # Not read in the end, but NaN there would spread through the sums of the backward pass.
        hide = is_padding[..., None]
        packed = x.masked_fill(hide, 0.0).flatten(0, 1).index_select(0, rows)
        if positions is not None:
            positions = positions.masked_fill(hide, 0.0).flatten(0, 1).index_select(0, rows)
        out = self._packed(packed, spans, positions, causal)
        restored = torch.zeros_like(out).index_copy(0, rows, out)
        return restored.view_as(x).masked_fill(hide, 0.0)


def _sort_padding_last(is_padding: Tensor) -> tuple[Tensor, Spans]:
    """Orders each row's valid entries before its padding, as two sequences of their own.

    The host does not know how much padding there is, and must not wait for the device to tell. So
    the padding stays, as S more sequences that attend to themselves: only bounds are needed then.

    Returns:
        rows: (S * L,) int64 into the flattened (S, L).
        spans: 2 S sequences, valid and padding in turn, any of which may be empty.
    """
    num_sequences, length = is_padding.shape
    order = is_padding.to(torch.uint8).argsort(dim=1, stable=True)
    starts = torch.arange(num_sequences, device=is_padding.device)[:, None] * length
    padding = is_padding.sum(dim=1)
    lengths = torch.stack([length - padding, padding], dim=1).flatten()
    cu_seqlens = nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
    return (order + starts).flatten(), Spans(cu_seqlens=cu_seqlens, max_length=length)


def _add(x: Tensor, positions: Tensor | None) -> Tensor:
    return x if positions is None else x + positions.to(x.dtype)


def _head_dim(width: int, num_heads: int) -> int:
    if width % num_heads:
        raise ValueError(
            f"attention: received width {width} and {num_heads} heads, which do not divide it; "
            "pass head_dim"
        )
    return width // num_heads
