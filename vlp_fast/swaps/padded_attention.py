"""Attention of padded rows with padding left out, by weights that another module holds.

The same rows come out as of attention with a mask; rows of padding are zero where the rows attend
to themselves. Nothing waits for the device to learn how much padding there is.

Shape suffixes: S sequences, L padded length, D width, N heads, E head width, T = S * L.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vlp_fast.layers.padding import hide_padding, sort_padding_last, with_empty_sequences
from vlp_fast.layers.sequences import Spans
from vlp_fast.ops.attention import attention_kvpacked, attention_qkvpacked


class Projection:
    """A matrix and its bias, of one or several parts side by side.

    Not a frozen dataclass, which Dynamo cannot make inside of a graph (PyTorch 2.11).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, rows: Tensor, others: Tensor | None = None) -> Tensor:
        """Maps rows (T, D) to (T, width of all parts), the last part from others if given."""
        if others is None:
            return F.linear(rows, self.weight, self.bias)
        parts = [self.parts(0, 2, of=3)(rows), self.parts(2, 3, of=3)(others)]
        return torch.cat(parts, dim=1)

    def parts(self, first: int, last: int, of: int) -> "Projection":
        """Returns parts `first` to `last` of as many equal ones."""
        size = self.weight.shape[0] // of
        chosen = slice(first * size, last * size)
        return Projection(self.weight[chosen], None if self.bias is None else self.bias[chosen])


def attend_within(
    queries: Tensor,
    values: Tensor,
    is_padding: Tensor,
    in_proj: Callable[[Tensor, Tensor | None], Tensor],
    *,
    num_heads: int,
    dropout_p: float = 0.0,
) -> Tensor:
    """Attends from rows to the rows of the same sequence that are no padding.

    Args:
        queries: (S, L, D) float, of which queries and keys are made.
        values: (S, L, D), of which values are made; the same tensor, if there are no positions.
        is_padding: (S, L) bool, True on padding, wherever it lies.
        in_proj: from rows (T, D) of queries, and those of values where they are others, to queries,
            keys and values side by side, (T, 3 * N * E).
        num_heads: N.
        dropout_p: rate on the attention weights.

    Returns:
        (S, L, N * E); rows of padding are zero, also in a sequence of padding alone.
    """
    order, spans = sort_padding_last(is_padding)
    rows = _sorted(queries, is_padding, order)
    others = None if values is queries else _sorted(values, is_padding, order)
    projected = in_proj(rows, others)
    mixed = attention_qkvpacked(
        projected.unflatten(1, (3, num_heads, -1)),
        spans.cu_seqlens,
        max_seqlen=spans.max_length,
        dropout_p=dropout_p,
    ).flatten(1)
    restored = torch.zeros_like(mixed).index_copy(0, order, mixed)
    return hide_padding(restored.unflatten(0, is_padding.shape), is_padding)


def attend_across(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    is_padding: Tensor,
    in_proj: Projection,
    *,
    num_heads: int,
    dropout_p: float = 0.0,
) -> Tensor:
    """Attends from every row to those rows of a memory that are no padding.

    Args:
        queries: (S, Lq, D) float.
        keys: (S, L, D).
        values: (S, L, D); the same tensor as keys, if there are no positions.
        is_padding: (S, L) bool, True on padding of the memory, wherever it lies.
        in_proj: to queries, keys and values side by side, (3 N E, D).
        num_heads: N.
        dropout_p: rate on the attention weights.

    Returns:
        (S, Lq, N * E); zero where a memory is padding alone.
    """
    order, spans = sort_padding_last(is_padding)
    answers = _sorted(keys, is_padding, order)
    if values is keys:
        memory = in_proj.parts(1, 3, of=3)(answers)
    else:
        others = _sorted(values, is_padding, order)
        parts = [in_proj.parts(1, 2, of=3)(answers), in_proj.parts(2, 3, of=3)(others)]
        memory = torch.cat(parts, dim=1)
    images, length = queries.shape[:2]
    asked = with_empty_sequences(Spans.uniform(images, length, queries.device))
    mixed = attention_kvpacked(
        in_proj.parts(0, 1, of=3)(queries.flatten(0, 1)).unflatten(1, (num_heads, -1)),
        memory.unflatten(1, (2, num_heads, -1)),
        asked.cu_seqlens,
        spans.cu_seqlens,
        max_seqlen_q=asked.max_length,
        max_seqlen_k=spans.max_length,
        dropout_p=dropout_p,
    )
    out: Tensor = mixed.flatten(1).unflatten(0, (images, length))
    return out


def _sorted(x: Tensor, is_padding: Tensor, order: Tensor) -> Tensor:
    return hide_padding(x, is_padding).flatten(0, 1).index_select(0, order)
