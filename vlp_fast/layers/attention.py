"""Multi-head attention over packed rows of text tokens and grid cells (DETR's rule).

    q = Wq (x + positions)    k = Wk (x + positions)    v = Wv x

`GridAttention` attends within each sequence, `CrossAttention` from the sequences of one packing to
those of another. Different from `nn.MultiheadAttention`, whose parameters they have, names and
shapes: rows of all sequences lie end to end instead of padded, positions never enter the values,
one product makes q, k and v, and `num_heads * head_dim` need not be the width.

Positions that are sums of table rows (`TablePositions`) are projected as a table and added behind
the product, so that x + positions is never written out.

Shape suffixes: T rows of all sequences, S sequences, L padded length, D width, N heads, E head
width.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_fast.layers.positions import TablePositions
from vlp_fast.ops.attention import attention_kvpacked, attention_qkvpacked
from vlp_fast.ops.positions import linear_with_positions

Positions = Tensor | TablePositions


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


class MultiHeadProjections(nn.Module):
    """The projections of attention; see its two subclasses.

    Its parameters are those of `nn.MultiheadAttention`: where head_dim is not given, state
    dictionaries go both ways.

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
        self.in_proj_weight = nn.Parameter(torch.empty(3 * inner, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * inner))
        self.out_proj = nn.Linear(inner, width)
        for matrix in (*self.in_proj_weight.detach().chunk(3), self.out_proj.weight):
            nn.init.xavier_uniform_(matrix)
        nn.init.zeros_(self.out_proj.bias)

    def project_queries(self, x: Tensor, positions: Positions | None = None) -> Tensor:
        """Maps rows (T, D) to queries (T, N, E)."""
        return self._project(x, positions, 0, 1)[:, 0]

    def project_memory(self, memory: Tensor, positions: Positions | None = None) -> Tensor:
        """Maps rows (T, D) to keys and values (T, 2, N, E): what a step-wise decoder keeps."""
        return self._project(memory, positions, 1, 3)

    def attend(
        self,
        x: Tensor,
        sequences: Sequences,
        memory: Tensor,
        memory_sequences: Sequences,
        *,
        positions: Positions | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attends from rows x to projected keys and values.

        Args:
            x: (T, D) float, rows that ask.
            sequences: of x, S of them.
            memory: (Tm, 2, N, E) from `project_memory`.
            memory_sequences: of the memory, S of them.
            positions: of x, for its queries; none if None.
            causal: a sequence's last row sees all of its keys, the row before all but the last key,
                and so on.

        Returns:
            (T, D).
        """
        mixed_TNE = attention_kvpacked(
            self.project_queries(x, positions),
            memory,
            sequences.cu_seqlens,
            memory_sequences.cu_seqlens,
            max_seqlen_q=sequences.max_length,
            max_seqlen_k=memory_sequences.max_length,
            causal=causal,
            dropout_p=self.dropout_p,
            order=memory_sequences.longest_first,
        )
        out_TD: Tensor = self.out_proj(mixed_TNE.flatten(1))
        return out_TD

    @property
    def dropout_p(self) -> float:
        """Rate on the attention weights, 0 in evaluation."""
        return self.dropout if self.training else 0.0

    def _project(self, x: Tensor, positions: Positions | None, first: int, last: int) -> Tensor:
        """Projects rows to parts `first` to `last` of (q, k, v): (T, last - first, N, E).

        Under autocast the projected table has its dtype, like the projected rows.
        """
        inner = self.num_heads * self.head_dim
        weight = self.in_proj_weight[first * inner : last * inner]
        bias = self.in_proj_bias[first * inner : last * inner]
        moved = (min(last, 2) - first) * inner  # v has no positions
        if positions is None:
            out = F.linear(x, weight, bias)
        elif isinstance(positions, TablePositions):
            table = F.linear(positions.table, weight[:moved])
            out = linear_with_positions(x, weight, bias, table, positions.indices)
        else:
            placed = F.linear(x + positions.to(x.dtype), weight[:moved], bias[:moved])
            out = torch.cat([placed, F.linear(x, weight[moved:], bias[moved:])], dim=1)
        return out.view(x.shape[0], last - first, self.num_heads, self.head_dim)


class CrossAttention(MultiHeadProjections):
    """Attends from each sequence of one packing to the same-numbered sequence of another."""

    def forward(
        self,
        x: Tensor,
        sequences: Sequences,
        memory: Tensor,
        memory_sequences: Sequences,
        *,
        query_positions: Positions | None = None,
        memory_positions: Positions | None = None,
    ) -> Tensor:
        """Computes one row of attention for every row of x.

        Args:
            x: (T, D) float, rows that ask.
            sequences: of x, S of them; a `Packing`, for example.
            memory: (Tm, D) float, rows that answer.
            memory_sequences: of the memory, S of them.
            query_positions: of x, (T, D) or a table; enter its queries. None if None.
            memory_positions: of the memory, (Tm, D) or a table; enter keys, not values.

        Returns:
            (T, D).
        """
        projected = self.project_memory(memory, memory_positions)
        return self.attend(x, sequences, projected, memory_sequences, positions=query_positions)


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
        positions: Positions | None = None,
        key_padding_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Computes self-attention of packed or padded rows.

        Args:
            x: (T, D) float packed, or (S, L, D) padded.
            packing: sequences of packed rows; None for padded ones.
            positions: shaped like x, or for packed rows a table; enter queries and keys, not
                values.
            key_padding_mask: (S, L) bool for padded rows, True on padding, which may lie anywhere;
                no padding if None.
            causal: a row sees itself and earlier rows of its sequence only.

        Returns:
            Like x; rows of padding are zero, whatever they held.

        Raises:
            ValueError: if packed rows come without a packing or with a mask, or padded rows with a
                packing or a table of positions.
        """
        if x.dim() == 2 and packing is not None and key_padding_mask is None:
            return self._packed(x, packing, positions, causal)
        if x.dim() == 3 and packing is None and not isinstance(positions, TablePositions):
            return self._padded(x, key_padding_mask, positions, causal)
        raise ValueError(
            f"GridAttention: received rows of shape {tuple(x.shape)} "
            f"{'without' if packing is None else 'with'} a packing and "
            f"{'without' if key_padding_mask is None else 'with'} a key_padding_mask, expected "
            "(T, D) with a packing, or (S, L, D) with or without a mask and positions of that "
            "shape; pass one of the two"
        )

    def _packed(
        self, x: Tensor, sequences: Sequences, positions: Positions | None, causal: bool
    ) -> Tensor:
        mixed_TNE = attention_qkvpacked(
            self._project(x, positions, 0, 3),
            sequences.cu_seqlens,
            max_seqlen=sequences.max_length,
            causal=causal,
            dropout_p=self.dropout_p,
            order=sequences.longest_first,
        )
        out_TD: Tensor = self.out_proj(mixed_TNE.flatten(1))
        return out_TD

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


def _head_dim(width: int, num_heads: int) -> int:
    if width % num_heads:
        raise ValueError(
            f"attention: received width {width} and {num_heads} heads, which do not divide it; "
            "pass head_dim"
        )
    return width // num_heads
