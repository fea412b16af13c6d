"""Multi-head attention over packed rows of text tokens and grid cells (DETR's rule).

`GridAttention` attends within each sequence, `CrossAttention` from the sequences of one packing to
those of another. Different from `nn.MultiheadAttention`, whose parameters they have, names and
shapes: rows of all sequences lie end to end instead of padded, positions never enter the values,
and `num_heads * head_dim` need not be the width.

Shape suffixes: T rows of all sequences, S sequences, L padded length, D width, N heads, E head
width.
"""

from typing import cast

import torch
from torch import Tensor

from vlp_fast.layers.padding import check_padding_mask, sort_padding_last
from vlp_fast.layers.positions import Positions, TablePositions
from vlp_fast.layers.projections import MultiHeadProjections
from vlp_fast.layers.sequences import Sequences, Spans, check_rows
from vlp_fast.ops.attention import attention_qkvpacked


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

        Raises:
            ValueError: if rows, positions and sequences do not fit together.
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
            positions: (T, D) or a table for packed rows, (S, L, D), (1, L, D) or (L, D) for padded
                ones; enter queries and keys, not values.
            key_padding_mask: (S, L) bool for padded rows, True on padding, which may lie anywhere;
                no padding if None.
            causal: a row sees itself and earlier rows of its sequence only.

        Returns:
            Like x; rows of padding are zero, whatever they held.

        Raises:
            ValueError: if packed rows come without a packing or with a mask, padded rows with a
                packing or a table of positions, or shapes or the mask's dtype are others.
        """
        if remedy := _remedy(x, packing, positions, key_padding_mask):
            raise ValueError(
                f"GridAttention: received rows of shape {tuple(x.shape)} {_given(packing)} packing "
                f"and {_given(key_padding_mask)} key_padding_mask, expected (T, D) with a packing "
                f"and without a mask, or (S, L, D) without a packing; {remedy}"
            )
        if packing is not None:
            return self._packed(x, packing, positions, causal)
        # A table was refused.
        return self._padded(x, key_padding_mask, cast(Tensor | None, positions), causal)

    def _packed(
        self, x: Tensor, sequences: Sequences, positions: Positions | None, causal: bool
    ) -> Tensor:
        check_rows("GridAttention", x, sequences)
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
        num_sequences, length = x.shape[:2]
        positions = None if positions is None else _expanded(positions, x)
        if is_padding is None:
            spans = Spans.uniform(num_sequences, length, x.device)
            flat = None if positions is None else positions.flatten(0, 1)
            return self._packed(x.flatten(0, 1), spans, flat, causal).view_as(x)
        check_padding_mask("GridAttention", is_padding, num_sequences, length)
        rows, spans = sort_padding_last(is_padding)
        # Not read in the end, but NaN there would spread through the sums of the backward pass.
        hide = is_padding[..., None]
        packed = x.masked_fill(hide, 0.0).flatten(0, 1).index_select(0, rows)
        if positions is not None:
            positions = positions.masked_fill(hide, 0.0).flatten(0, 1).index_select(0, rows)
        out = self._packed(packed, spans, positions, causal)
        restored = torch.zeros_like(out).index_copy(0, rows, out)
        return restored.view_as(x).masked_fill(hide, 0.0)


def _remedy(
    x: Tensor, packing: Sequences | None, positions: Positions | None, mask: Tensor | None
) -> str:
    """What to do about arguments that are not for one another; nothing if they are."""
    if x.dim() == 2 and packing is None:
        return "pass the packing of these rows, or x.unsqueeze(0) if they are one sequence"
    if x.dim() == 2 and mask is not None:
        return "leave the mask out, for packed rows have no padding"
    if x.dim() == 3 and packing is not None:
        return "pass ops.pack(x, packing), or leave the packing out"
    if x.dim() == 3 and isinstance(positions, TablePositions):
        return "a table of positions is for packed rows, so pass positions of shape (S, L, D)"
    return "" if x.dim() in (2, 3) else "flatten leading dimensions"


def _given(argument: object) -> str:
    return "without a" if argument is None else "with a"


def _expanded(positions: Tensor, x: Tensor) -> Tensor:
    """Positions of padded rows (S, L, D), shaped like x."""
    if positions.shape not in (x.shape, x.shape[1:], (1, *x.shape[1:])):
        raise ValueError(
            f"GridAttention: received positions of shape {tuple(positions.shape)}, expected "
            f"{tuple(x.shape)}, or {tuple(x.shape[1:])} for all sequences; expand them"
        )
    return positions.expand_as(x)
