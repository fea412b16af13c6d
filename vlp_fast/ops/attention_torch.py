"""Attention on a CPU by PyTorch's own fused kernel, a run of equally long sequences at a time.

It computes neither dropout nor a causal mask of fewer queries than keys, and its backward pass in
half precision takes up to 3.5 times as long as the definition (PyTorch 2.11): those are left to the
definition. The log-sum-exp is the same, so that forward and backward may be of either.
"""

from collections.abc import Iterator
from itertools import groupby

import torch
from torch import Tensor

from vlp_fast.reference import attention as reference

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default

Run = tuple[slice, slice, int]
"""Rows of queries and of keys, and how many sequences they are."""


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
    out = q.new_zeros(q.shape)
    lse = q.new_full((q.shape[1], q.shape[0]), torch.inf, dtype=torch.float32)
    for queries, keys, count in _runs(*sequences):
        heads = (_heads(x, rows, count) for x, rows in ((q, queries), (k, keys), (v, keys)))
        found, sums = _forward(*heads, 0.0, causal, scale=scale)
        out[queries] = found.transpose(1, 2).flatten(0, 1)
        lse[:, queries] = sums.transpose(0, 1).flatten(1)
    return out, lse


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
    for x in found:
        x.zero_()
    for queries, keys, count in _runs(*sequences):
        rows = (queries, queries, keys, keys, queries)
        heads = (_heads(x, at, count) for x, at in zip((grad, q, k, v, out), rows, strict=True))
        sums = lse[:, queries].unflatten(1, (count, -1)).transpose(0, 1)
        parts = _backward(*heads, sums, 0.0, causal, scale=scale)
        for x, at, part in zip(found, (queries, keys, keys), parts, strict=True):
            x[at] = part.transpose(1, 2).flatten(0, 1)


def _is_computed(
    q: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, causal: bool, seed: Tensor | None
) -> bool:
    if q.device.type != "cpu" or seed is not None:
        return False
    return not causal or torch.equal(cu_seqlens_q, cu_seqlens_k)


def _runs(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor) -> Iterator[Run]:
    """Neighbours of the same lengths; those without queries or keys are left out."""
    lengths = torch.stack([cu_seqlens_q.diff(), cu_seqlens_k.diff()], 1).tolist()
    query = key = 0
    for (num_queries, num_keys), alike in groupby(map(tuple, lengths)):
        count = len(list(alike))
        queries = slice(query, query + count * num_queries)
        keys = slice(key, key + count * num_keys)
        query, key = queries.stop, keys.stop
        if num_queries and num_keys:
            yield queries, keys, count


def _heads(x: Tensor, rows: slice, count: int) -> Tensor:
    """Rows (count * L, N, E) as (count, N, L, E), columns side by side."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    heads: Tensor = x[rows].unflatten(0, (count, -1)).transpose(1, 2)
    return heads
