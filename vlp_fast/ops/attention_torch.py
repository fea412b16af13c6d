"""Attention on a CPU by PyTorch's own fused kernel, a run of equally long sequences at a time.

It computes no dropout, and queries that see no key become NaN under a causal mask: those are left
to the definition. The log-sum-exp is the same, so that forward and backward may be of either.

Half precision is computed in float32 and rounded, but for the kernel's forward pass in bfloat16. On
an EPYC of AVX2 (PyTorch 2.11, one thread, SOHO's two pictures, ms) its backward pass took 86 in
bfloat16 and 127 in float16, the definition's 68 and 22, and float32 between two casts takes 12; its
forward pass in float16 16 and 6. The definition's forward pass: 47 in bfloat16 and 9 in float16.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlp_fast.reference import attention as reference

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


class Rows(NamedTuple):
    """Of sequences of one length, one behind the other."""

    start: int
    number: int
    """Sequences."""
    length: int

    @property
    def stop(self) -> int:
        """First row behind them."""
        return self.start + self.number * self.length

    def heads(self, x: Tensor) -> Tensor:
        """View these rows of (T, N, E) as (number, N, length, E)."""
        (_, heads, width), (row, head, column) = x.shape, x.stride()
        shape = (self.number, heads, self.length, width)
        strides = (self.length * row, head, row, column)
        # One operation where slicing, splitting and transposing are three, of each operand and run.
        return x.as_strided(shape, strides, x.storage_offset() + self.start * row)

    def sums(self, lse: Tensor) -> Tensor:
        """View these rows' numbers, of (N, T), as (number, N, length)."""
        head, row = lse.stride()
        shape, strides = (self.number, len(lse), self.length), (self.length * row, head, row)
        return lse.as_strided(shape, strides, lse.storage_offset() + self.start * row)


class Run(NamedTuple):
    """Neighbours with the same numbers of queries and of keys."""

    queries: Rows
    keys: Rows

    def mask(self, causal: bool, dtype: torch.dtype) -> dict[str, Any]:
        """Options of the kernel, whose own causal mask begins with the first key."""
        num_queries, num_keys = self.queries.length, self.keys.length
        if not causal or num_queries == num_keys:
            return {"is_causal": causal}
        hidden = torch.full((num_queries, num_keys), -torch.inf, dtype=dtype, device="cpu")
        return {"is_causal": False, "attn_mask": hidden.triu(1 + num_keys - num_queries)}


class Plan(NamedTuple):
    """What is computed at a time."""

    runs: tuple[Run, ...]
    """Without those that have no queries or no keys."""
    is_whole: bool
    """No row of queries or of keys is in none of them."""
    sees_none: bool
    """Some query sees no key if the mask is causal."""
    is_on_host: bool = True

    def computes(self, causal: bool, seed: Tensor | None) -> bool:
        """Tell whether the kernel does."""
        return self.is_on_host and seed is None and not (causal and self.sees_none)


ON_A_DEVICE = Plan((), is_whole=False, sees_none=False, is_on_host=False)


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
    sequences, lengths = (cu_seqlens_q, cu_seqlens_k), (max_seqlen_q, max_seqlen_k)
    plan = _plan(q, k, *sequences, *lengths)
    is_left = not plan.computes(causal, seed)
    options = (*sequences, order, *lengths, causal, scale, dropout_p, seed)
    if plan.is_on_host and (q.dtype == torch.float16 or (q.dtype == torch.bfloat16 and is_left)):
        wide, lse = attention(q.float(), k.float(), v.float(), *options)
        return wide.to(q.dtype), lse
    if is_left:
        return reference.attention(q, k, v, *options)
    operands = _columns_side_by_side(q, k, v)
    if len(plan.runs) == 1 and plan.is_whole:
        out, sums = _attend(plan.runs[0], operands, causal, scale)
        # Laid out as rows already. What autograd takes for a view may not be written to by users.
        result = torch.ops.aten._unsafe_view(out.transpose(1, 2).contiguous(), q.shape)
        return result, sums.transpose(0, 1).reshape(-1, len(q)).contiguous()
    result = torch.empty_like(q, memory_format=torch.contiguous_format)
    lse = q.new_full((q.shape[1], len(q)), torch.inf, dtype=torch.float32)
    _clear_gaps(plan, result)
    for run in plan.runs:
        out, sums = _attend(run, operands, causal, scale)
        run.queries.heads(result).copy_(out)
        run.queries.sums(lse).copy_(sums)
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
    sequences, lengths = (cu_seqlens_q, cu_seqlens_k), (max_seqlen_q, max_seqlen_k)
    plan = _plan(q, k, *sequences, *lengths)
    options = (*sequences, order, *lengths, causal, scale, dropout_p, seed)
    inputs, found = (grad, q, k, v, out), (grad_q, grad_k, grad_v)
    if plan.is_on_host and q.dtype in (torch.float16, torch.bfloat16):
        of_q, of_k, of_v = (x.new_empty(x.shape, dtype=torch.float32) for x in found)
        grad, q, k, v, out = (x.float() for x in inputs)
        attention_backward(grad, q, k, v, out, lse, *options, of_q, of_k, of_v)
        for x, y in zip(found, (of_q, of_k, of_v), strict=True):
            x.copy_(y)
    elif plan.computes(causal, seed):
        _clear_gaps(plan, *found)
        operands = _columns_side_by_side(*inputs)
        for run in plan.runs:
            _differentiate(run, operands, lse, found, causal, scale)
    else:
        reference.attention_backward(grad, q, k, v, out, lse, *options, *found)


def _attend(
    run: Run, operands: Sequence[Tensor], causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """Output (number, N, length, E) and log-sum-exps (number, N, length) of a run's q, k and v."""
    sides = (run.queries, run.keys, run.keys)
    heads = [side.heads(x) for side, x in zip(sides, operands, strict=True)]
    mask = run.mask(causal, operands[0].dtype)
    found: tuple[Tensor, Tensor] = _forward(*heads, 0.0, **mask, scale=scale)
    return found


def _differentiate(
    run: Run,
    inputs: Sequence[Tensor],
    lse: Tensor,
    found: Sequence[Tensor],
    causal: bool,
    scale: float,
) -> None:
    """Write a run's gradients of q, k and v; inputs are grad, q, k, v and out."""
    queries, keys = run
    grad, q, k, v, out = inputs
    operands = (*(queries.heads(x) for x in (grad, q)), keys.heads(k), keys.heads(v))
    rest = (queries.heads(out), queries.sums(lse))
    parts = _backward(*operands, *rest, 0.0, **run.mask(causal, q.dtype), scale=scale)
    for x, rows, part in zip(found, (queries, keys, keys), parts, strict=True):
        rows.heads(x).copy_(part)


def _plan(
    q: Tensor, k: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, max_q: int, max_k: int
) -> Plan:
    if q.device.type != "cpu":
        return ON_A_DEVICE
    bounds_q = tuple(cu_seqlens_q.tolist())
    is_same = cu_seqlens_k is cu_seqlens_q
    bounds_k = bounds_q if is_same else tuple(cu_seqlens_k.tolist())
    return _plan_on_host(bounds_q, bounds_k, max_q, max_k, len(q), len(k))


# Layers share a packing, and so does the backward pass: five pairs are in use in a step of E2E-VLP.
@lru_cache(maxsize=16)
def _plan_on_host(
    bounds_q: tuple[int, ...], bounds_k: tuple[int, ...], max_q: int, max_k: int, nq: int, nk: int
) -> Plan:
    lengths_q = reference.lengths_of(bounds_q, max_q, nq)
    lengths_k = reference.lengths_of(bounds_k, max_k, nk)
    query = key = 0
    runs = []
    for (num_queries, num_keys), alike in groupby(zip(lengths_q, lengths_k, strict=True)):
        number = len(list(alike))
        run = Run(Rows(query, number, num_queries), Rows(key, number, num_keys))
        query, key = run.queries.stop, run.keys.stop
        if num_queries and num_keys:
            runs.append(run)
    rows = sum(x.number * x.length for run in runs for x in run)
    sees_none = any(i > j for i, j in zip(lengths_q, lengths_k, strict=True))
    return Plan(tuple(runs), rows == nq + nk, sees_none)


def _columns_side_by_side(*operands: Tensor) -> list[Tensor]:
    return [x if x.stride(-1) == 1 else x.contiguous() for x in operands]


def _clear_gaps(plan: Plan, *written: Tensor) -> None:
    """Zeros, if there are rows that nothing will be written to."""
    if not plan.is_whole:
        for x in written:
            x.zero_()
