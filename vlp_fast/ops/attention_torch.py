"""Attention on a CPU by PyTorch's own fused kernel, a run of equally long sequences at a time.

It computes no dropout, its backward pass in half precision takes up to 3.5 times as long as the
definition (PyTorch 2.11), and queries that see no key become NaN under a causal mask: those are
left to the definition. The log-sum-exp is the same, so that forward and backward may be of either.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlp_fast.reference import attention as reference

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


class Run(NamedTuple):
    """Sequences of one length, one behind the other."""

    queries: slice
    keys: slice
    number: int

    def mask(self, causal: bool, dtype: torch.dtype) -> dict[str, Any]:
        """Options of the kernel, whose own causal mask begins with the first key."""
        num_queries, num_keys = (
            (x.stop - x.start) // self.number for x in (self.queries, self.keys)
        )
        if not causal or num_queries == num_keys:
            return {"is_causal": causal}
        hidden = torch.full((num_queries, num_keys), -torch.inf, dtype=dtype, device="cpu")
        return {"is_causal": False, "attn_mask": hidden.triu(1 + num_keys - num_queries)}


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Output (Tq, N, E), and log-sum-exp of each row (N, Tq), +inf where it sees no key."""
    sequences = (cu_seqlens_q, cu_seqlens_k)
    if not _is_computed(q, *sequences, causal, seed):
        lengths = (max_seqlen_q, max_seqlen_k)
        options = (*sequences, order, *lengths, causal, scale, dropout_p, seed)
        return reference.attention(q, k, v, *options)
    reference.check_sequences(cu_seqlens_q, max_seqlen_q, len(q))
    reference.check_sequences(cu_seqlens_k, max_seqlen_k, len(k))
    runs = _runs(*sequences)
    lse = q.new_full((q.shape[1], q.shape[0]), torch.inf, dtype=torch.float32)
    result = q.new_empty(q.shape)
    _clear_gaps(result, [run.queries for run in runs])
    for run in runs:
        rows = (run.queries, run.keys, run.keys)
        heads = (_heads(x, at, run.number) for x, at in zip((q, k, v), rows, strict=True))
        out, sums = _forward(*heads, 0.0, **run.mask(causal, q.dtype), scale=scale)
        result[run.queries] = out.transpose(1, 2).flatten(0, 1)
        lse[:, run.queries] = sums.transpose(0, 1).flatten(1)
    return result, lse


def attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
    grad_q: Tensor,
    grad_k: Tensor,
    grad_v: Tensor,
) -> None:
    """Write the gradients of q, k and v."""
    sequences, found = (cu_seqlens_q, cu_seqlens_k), (grad_q, grad_k, grad_v)
    if q.dtype != torch.float32 or not _is_computed(q, *sequences, causal, seed):
        options = (order, max_seqlen_q, max_seqlen_k, causal, scale, dropout_p, seed)
        inputs = (grad, q, k, v, out, lse, *sequences)
        reference.attention_backward(*inputs, *options, *found)
        return
    runs = _runs(*sequences)
    places = [(run.queries, run.keys, run.keys) for run in runs]
    for x, rows in zip(found, zip(*places, strict=True) if runs else ((),) * 3, strict=True):
        _clear_gaps(x, rows)
    for run, written in zip(runs, places, strict=True):
        read = (run.queries, *written, run.queries)
        heads = (
            _heads(x, rows, run.number) for x, rows in zip((grad, q, k, v, out), read, strict=True)
        )
        sums = lse[:, run.queries].unflatten(1, (run.number, -1)).transpose(0, 1)
        parts = _backward(*heads, sums, 0.0, **run.mask(causal, q.dtype), scale=scale)
        for x, rows, part in zip(found, written, parts, strict=True):
            x[rows] = part.transpose(1, 2).flatten(0, 1)


def _is_computed(
    q: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, causal: bool, seed: Tensor | None
) -> bool:
    if q.device.type != "cpu" or seed is not None:
        return False
    return not causal or bool((cu_seqlens_q.diff() <= cu_seqlens_k.diff()).all())


def _runs(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor) -> list[Run]:
    """Neighbours of the same lengths; those without queries or keys are left out."""
    lengths = torch.stack([cu_seqlens_q.diff(), cu_seqlens_k.diff()], 1).tolist()
    query = key = 0
    found = []
    for (num_queries, num_keys), alike in groupby(map(tuple, lengths)):
        count = len(list(alike))
        queries = slice(query, query + count * num_queries)
        keys = slice(key, key + count * num_keys)
        query, key = queries.stop, keys.stop
        if num_queries and num_keys:
            found.append(Run(queries, keys, count))
    return found


def _heads(x: Tensor, rows: slice, count: int) -> Tensor:
    """Rows (count * L, N, E) as (count, N, L, E), columns side by side."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    heads: Tensor = x[rows].unflatten(0, (count, -1)).transpose(1, 2)
    return heads


def _clear_gaps(x: Tensor, places: Sequence[slice]) -> None:
    """Zeros, if there are rows that nothing will be written to."""
    if sum(rows.stop - rows.start for rows in places) < len(x):
        x.zero_()
