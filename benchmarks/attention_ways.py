"""Ways to attend within the sequences of a batch, forward and backward.

Each maps q, k and v, packed (T, N, E) or padded (S, L, N, E), to the output and takes what it needs
to know of the batch when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from vlp_fast import ops

from .ragged import Problem

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def by_ours(problem: Problem) -> Attend:
    """Packed rows, sequences begun longest first."""
    queries, keys = problem.queries, problem.keys
    return partial(
        ops.attention,
        cu_seqlens_q=queries.bounds,
        cu_seqlens_k=keys.bounds,
        max_seqlen_q=queries.longest,
        max_seqlen_k=keys.longest,
        causal=problem.causal,
        order=keys.longest_first,
    )


def by_masked_sdpa(problem: Problem, backend: SDPBackend | None = None) -> Attend:
    """Padded rows and a mask of keys, as DETR attends; flash kernels take no mask."""
    mask = visible(problem)[:, None]

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        with nullcontext() if backend is None else sdpa_kernel(backend):
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2)

    return attend


def visible(problem: Problem) -> Tensor:
    """(S, 1 or padded queries, padded keys) bool: which keys a query sees."""
    queries, keys = problem.queries, problem.keys
    seen = ~keys.is_padding[:, None]
    if not problem.causal:
        return seen
    ahead = torch.tensor(keys.lengths) - torch.tensor(queries.lengths)
    row = torch.arange(queries.padded_length, device=keys.device)[:, None]
    column = torch.arange(keys.padded_length, device=keys.device)
    return seen & (column <= row + ahead.to(keys.device)[:, None, None])


def by_varlen(problem: Problem) -> Attend:
    """PyTorch's FlashAttention of packed rows; half precision on a GPU only."""
    from torch.nn.attention.varlen import varlen_attn

    queries, keys = problem.queries, problem.keys
    bounds, longest = (queries.bounds, keys.bounds), (queries.longest, keys.longest)
    window = (-1, 0 if problem.causal else -1)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = varlen_attn(q, k, v, *bounds, *longest, window_size=window)
        assert isinstance(out, Tensor)  # a pair only where the log-sum-exp is asked for
        return out

    return attend


def by_packed_cudnn(problem: Problem) -> Attend:
    """cuDNN's attention of packed rows, as PyTorch's jagged tensors reach it, without these."""
    queries, keys = problem.queries, problem.keys
    bounds, longest = (queries.bounds, keys.bounds), (queries.longest, keys.longest)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        forward = torch.ops.aten._cudnn_attention_forward
        out: Tensor = forward(q, k, v, None, *bounds, *longest, compute_log_sumexp=True)[0]
        return out

    return attend


@cache
def _compiled_flex() -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


def by_flex(problem: Problem) -> Attend:
    """FlexAttention over all packed rows with a mask of blocks, made anew for the batch."""
    from torch.nn.attention.flex_attention import create_block_mask

    queries, keys = problem.queries, problem.keys
    owner_q, owner_k = queries.owners, keys.owners
    # Place of a row in its sequence, queries counted so that the last one sees every key.
    last_q, last_k = (x.bounds.long()[1:].index_select(0, x.owners) for x in (queries, keys))
    until_end_q, until_end_k = (
        last - torch.arange(len(last), device=last.device) for last in (last_q, last_k)
    )

    def sees(_b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return owner_q[i] == owner_k[j]

    def sees_before(_b: Tensor, _h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (owner_q[i] == owner_k[j]) & (until_end_k[j] >= until_end_q[i])

    rows = (sum(queries.lengths), sum(keys.lengths))
    mask_of = sees_before if problem.causal else sees
    mask = create_block_mask(mask_of, None, None, *rows, device=queries.device)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        out: Tensor = _compiled_flex()(q, k, v, block_mask=mask)
        return out[0].transpose(0, 1)

    return attend


def operands(
    problem: Problem, heads: tuple[int, int], dtype: torch.dtype, generator: torch.Generator
) -> tuple[list[Tensor], Tensor]:
    """q, k and v, packed, and the gradient of the output; heads are a number and a width."""
    sides = (problem.queries, problem.keys, problem.keys, problem.queries)
    rows = [sum(side.lengths) for side in sides]
    shape = (sum(rows), *heads)
    drawn = torch.randn(shape, generator=generator, device=problem.queries.device)
    *qkv, grad = drawn.to(dtype).split(rows)
    return qkv, grad


def forward_backward(attend: Attend, qkv: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """Output and the gradients of q, k and v."""
    leaves = [x.detach().requires_grad_() for x in qkv]
    out = attend(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def exactly(problem: Problem, qkv: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """The same of packed rows in float64, sequence by sequence."""
    sides = (problem.queries, problem.keys, problem.keys, problem.queries)
    wide = [
        x.double().split(list(side.lengths)) for x, side in zip((*qkv, grad), sides, strict=True)
    ]
    dense = partial(_dense, causal=problem.causal)
    parts = [dense(*sequence) for sequence in zip(*wide, strict=True)]
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def _dense(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, *, causal: bool) -> list[Tensor]:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("lne,mne->nlm", q, k) * q.shape[-1] ** -0.5
        if causal:
            hidden = torch.ones_like(scores[0], dtype=torch.bool).triu(1 + len(k) - len(q))
            scores = scores.masked_fill(hidden, -torch.inf)
        return torch.einsum("nlm,mne->lne", scores.softmax(-1), v)

    return forward_backward(attend, (q, k, v), grad)


def largest_difference(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Of any tensor, relative to its largest value."""
    return max(
        float((x - y).abs().max() / y.abs().max().clamp(min=1e-12))
        for x, y in zip(found, truth, strict=True)
    )


def mean_difference(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Of any tensor, as root of the mean square, relative to that of its values."""
    return max(
        float((x - y).double().norm() / y.double().norm().clamp(min=1e-12))
        for x, y in zip(found, truth, strict=True)
    )
