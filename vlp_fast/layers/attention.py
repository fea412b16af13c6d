"""Multi-head attention over packed rows of text tokens and grid cells (DETR's rule).

`GridAttention` attends within each sequence, `CrossAttention` from each sequence to that of the
same number in a memory. Different from `nn.MultiheadAttention`, whose parameters they have, names
and shapes: rows of all sequences lie end to end instead of padded (padded ones are taken too),
positions never enter the values, `num_heads * head_dim` need not be the width, and what comes out
is one tensor, without weights.

Shape suffixes: T rows of all sequences, S sequences, L padded length, D width, N heads, E head
width.
"""

from collections.abc import Mapping, Sized

import torch
from torch import Tensor

from vlp_fast.layers.padding import (
    flat_rows,
    hide_padding,
    sort_padding_last,
    with_empty_sequences,
)
from vlp_fast.layers.positions import Positions
from vlp_fast.layers.projections import MultiHeadProjections
from vlp_fast.layers.sequences import Sequences, Spans, check_rows
from vlp_fast.ops.attention import attention_qkvpacked


class CrossAttention(MultiHeadProjections):
    """Attends from each sequence to the same-numbered sequence of a memory.

    >>> layer = vlp_fast.CrossAttention(256, num_heads=8)
    >>> y = layer(x, memory, packing, memory_packing)        # packed: (T, D) and (Tm, D) in
    >>> y = layer(x, memory, key_padding_mask=is_padding)    # padded: (S, L, D) and (S, Lm, D) in
    """

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        sequences: Sequences | None = None,
        memory_sequences: Sequences | None = None,
        *others: object,
        query_positions: Positions | None = None,
        memory_positions: Positions | None = None,
        key_padding_mask: Tensor | None = None,
        query_padding_mask: Tensor | None = None,
        **unknown: object,
    ) -> Tensor:
        """Computes one row of attention for every row of x.

        Args:
            x: (T, D) float packed, or (S, L, D) padded: rows that ask.
            memory: (Tm, D) float packed, or (S, Lm, D) padded: rows that answer.
            sequences: of packed x, S of them; a `Packing`, for example. None for padded rows.
            memory_sequences: of a packed memory, S of them. None for padded rows.
            others: none; here to tell who calls it as `nn.MultiheadAttention` what to write.
            query_positions: of x, (T, D) or a table for packed rows, (S, L, D), (1, L, D) or (L, D)
                for padded ones; enter queries.
            memory_positions: of the memory, likewise; enter keys, not values.
            key_padding_mask: (S, Lm) bool for padded rows, True on padding of the memory, which may
                lie anywhere; no padding if None. A sequence of padding alone gives what one
                without rows gives: the bias of `out_proj`.
            query_padding_mask: (S, L) bool for padded rows, True on padding of x; no padding if
                None.
            unknown: none, as `others`.

        Returns:
            Like x; rows of padding are zero, whatever they held.

        Raises:
            ValueError: if rows, sequences, positions and masks do not fit together.
            TypeError: for other arguments of `nn.MultiheadAttention`.
        """
        _refuse_multihead_call(self, sequences, others, unknown)
        is_masked = key_padding_mask is not None or query_padding_mask is not None
        if remedy := _cross_remedy(x, memory, sequences, memory_sequences, is_masked):
            raise ValueError(
                f"CrossAttention: received rows {tuple(x.shape)} and memory {tuple(memory.shape)}, "
                "expected (T, D) and (Tm, D) with the sequences of both, or (S, L, D) and "
                f"(S, Lm, D) without sequences; {remedy}"
            )
        if sequences is not None and memory_sequences is not None:
            projected = self.project_memory(memory, memory_positions)
            return self.attend(x, sequences, projected, memory_sequences, positions=query_positions)
        rows, of_rows = flat_rows(
            "CrossAttention", x, query_positions, query_padding_mask, "query_padding_mask"
        )
        answers, of_answers = flat_rows(
            "CrossAttention", memory, memory_positions, key_padding_mask
        )
        queries = Spans.uniform(x.shape[0], x.shape[1], x.device)
        if key_padding_mask is None:
            spans = Spans.uniform(memory.shape[0], memory.shape[1], x.device)
        else:
            order, spans = sort_padding_last(key_padding_mask)
            queries = with_empty_sequences(queries)
            answers = answers.index_select(0, order)
            of_answers = None if of_answers is None else of_answers.index_select(0, order)
        projected = self.project_memory(answers, of_answers)
        out = self.attend(rows, queries, projected, spans, positions=of_rows).view_as(x)
        return out if query_padding_mask is None else hide_padding(out, query_padding_mask)


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
        *others: object,
        positions: Positions | None = None,
        key_padding_mask: Tensor | None = None,
        causal: bool = False,
        **unknown: object,
    ) -> Tensor:
        """Computes self-attention of packed or padded rows.

        Args:
            x: (T, D) float packed, or (S, L, D) padded.
            packing: sequences of packed rows; None for padded ones.
            others: none; here to tell who calls it as `nn.MultiheadAttention` what to write.
            positions: (T, D) or a table for packed rows, (S, L, D), (1, L, D) or (L, D) for padded
                ones; enter queries and keys, not values.
            key_padding_mask: (S, L) bool for padded rows, True on padding, which may lie anywhere;
                no padding if None.
            causal: a row sees itself and earlier rows of its sequence only.
            unknown: none, as `others`.

        Returns:
            Like x; rows of padding are zero, whatever they held.

        Raises:
            ValueError: if packed rows come without a packing or with a mask, padded rows with a
                packing or a table of positions, or shapes or the mask's dtype are others.
            TypeError: for other arguments of `nn.MultiheadAttention`.
        """
        _refuse_multihead_call(self, packing, others, unknown)
        if remedy := _remedy(x, packing, key_padding_mask):
            raise ValueError(
                f"GridAttention: received rows of shape {tuple(x.shape)} {_given(packing)} packing "
                f"and {_given(key_padding_mask)} key_padding_mask, expected (T, D) with a packing "
                f"and without a mask, or (S, L, D) without a packing; {remedy}"
            )
        if packing is not None:
            return self._packed(x, packing, positions, causal)
        return self._padded(x, key_padding_mask, positions, causal)

    def _packed(
        self, x: Tensor, sequences: Sequences, positions: Positions | None, causal: bool
    ) -> Tensor:
        check_rows("GridAttention", x, sequences)
        mixed_TNE = attention_qkvpacked(
            self.project(x, positions),
            sequences.cu_seqlens,
            max_seqlen=sequences.max_length,
            causal=causal,
            dropout_p=self.dropout_p,
            order=sequences.longest_first,
        )
        out_TD: Tensor = self.out_proj(mixed_TNE.flatten(1))
        return out_TD

    def _padded(
        self, x: Tensor, is_padding: Tensor | None, positions: Positions | None, causal: bool
    ) -> Tensor:
        rows, of_rows = flat_rows("GridAttention", x, positions, is_padding)
        if is_padding is None:
            spans = Spans.uniform(x.shape[0], x.shape[1], x.device)
            return self._packed(rows, spans, of_rows, causal).view_as(x)
        order, spans = sort_padding_last(is_padding)
        of_rows = None if of_rows is None else of_rows.index_select(0, order)
        out = self._packed(rows.index_select(0, order), spans, of_rows, causal)
        restored = torch.zeros_like(out).index_copy(0, order, out)
        return hide_padding(restored.view_as(x), is_padding)


_CALLS = {
    "CrossAttention": "layer(x, memory, key_padding_mask=is_padding)",
    "GridAttention": "layer(x, key_padding_mask=is_padding)",
}


def _remedy(x: Tensor, packing: Sequences | None, mask: Tensor | None) -> str:
    """What to do about arguments that are not for one another; nothing if they are."""
    if x.dim() == 2 and packing is None:
        return "pass the packing of these rows, or x.unsqueeze(0) if they are one sequence"
    if x.dim() == 2 and mask is not None:
        return "leave the mask out, for packed rows have no padding"
    if x.dim() == 3 and packing is not None:
        return "pass ops.pack(x, packing), or leave the packing out"
    return "" if x.dim() in (2, 3) else "flatten leading dimensions"


def _cross_remedy(
    x: Tensor,
    memory: Tensor,
    sequences: Sequences | None,
    memory_sequences: Sequences | None,
    is_masked: bool,
) -> str:
    """What to do about arguments that are not for one another; nothing if they are."""
    if (x.dim(), memory.dim()) == (2, 2):
        if sequences is None or memory_sequences is None:
            return "pass the packings of both, or unsqueeze(0) both if they are one sequence"
        return "leave the masks out, for packed rows have no padding" if is_masked else ""
    if (x.dim(), memory.dim()) != (3, 3) or x.shape[0] != memory.shape[0]:
        return "pass as many sequences of both, both packed or both padded"
    if sequences is not None or memory_sequences is not None:
        return "pass ops.pack(x, packing), or leave the sequences out"
    return ""


def _refuse_multihead_call(
    layer: MultiHeadProjections, sequences: object, others: Sized, unknown: Mapping[str, object]
) -> None:
    """Refuses a call as `nn.MultiheadAttention` takes it, from PyTorch's own layers for example.

    They would take [0] of what it returns, which of one tensor is the first sequence.
    """
    if not others and not unknown and not isinstance(sequences, Tensor):
        return
    name = type(layer).__name__
    has_keys = bool(others) or isinstance(sequences, Tensor)
    given = [*(["query, key and value"] if has_keys else []), *unknown]
    raise TypeError(
        f"{name}: received {', '.join(given)}, expected {_CALLS[name]}, which returns one "
        "tensor, without weights; in place of PyTorch's Transformer layers, which call "
        "nn.MultiheadAttention, use those of vlp_fast.layers.transformer"
    )


def _given(argument: object) -> str:
    return "without a" if argument is None else "with a"
