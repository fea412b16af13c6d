"""Floating-point operations of the operators, for `torch.utils.flop_counter`.

A multiply-add counts two. As torch counts its own operators: products only, and of attention's
backward pass the five that a fused kernel makes, one of them anew. How long sequences are lies on
the device, so there a count is a () int64 tensor of it, which nobody waits for; on a CPU, an int.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from vlp_fast.ops.attention import _attention, _attention_backward
from vlp_fast.ops.dictionary import _nearest_code
from vlp_fast.ops.positions import _linear_with_positions
from vlp_fast.ops.registry import Op

Count = int | Tensor
Formula = TypeVar("Formula", bound=Callable[..., Count])


def _formula_of(op: Op) -> Callable[[Formula], Formula]:
    packet = getattr(torch.ops.vlp_fast, op.name)
    return cast(Callable[[Formula], Formula], register_flop_formula(packet, get_raw=True))


@_formula_of(_attention)
def attention_flops(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    *_: Any,
    **__: Any,
) -> Count:
    """Scores and their sum of values: two products for each pair of a query and a key it sees."""
    return _count(4 * q.shape[1] * q.shape[2] * _pairs(cu_seqlens_q, cu_seqlens_k, causal))


@_formula_of(_attention_backward)
def attention_backward_flops(
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
    *_: Any,
    **__: Any,
) -> Count:
    """Scores anew, and the gradients of probabilities, values, queries and keys."""
    return _count(10 * q.shape[1] * q.shape[2] * _pairs(cu_seqlens_q, cu_seqlens_k, causal))


@_formula_of(_linear_with_positions)
def linear_with_positions_flops(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> Count:
    """The product; its backward pass is of torch's own operators."""
    return 2 * x.shape[0] * weight.numel()


@_formula_of(_nearest_code)
def nearest_code_flops(x: Tensor, codes: Tensor, *_: Any, **__: Any) -> Count:
    """The product of rows and codes, out of which distances come."""
    return 2 * x.shape[0] * codes.numel()


def _pairs(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, causal: bool) -> Tensor:
    """() int64, pairs of a query and a key that it sees: of the latest queries, in causal order."""
    queries, keys = cu_seqlens_q.diff().long(), cu_seqlens_k.diff().long()
    if not causal:
        return (queries * keys).sum()
    both = torch.minimum(queries, keys)
    return (both * (keys - both) + both * (both + 1) // 2).sum()


def _count(flops: Tensor) -> Count:
    return flops if flops.is_cuda else int(flops)
