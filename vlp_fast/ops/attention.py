"""Attention over packed sequences: `softmax(q k^T scale) v` within each, nothing padded.

Vaswani et al. (2017), eq. 1, as the encoders and decoders of E2E-VLP and SOHO use it. Position
encodings are added to q and k by the layer.
"""

from typing import Any

import torch
from torch import Tensor

from vlp_fast.ops.registry import Op
from vlp_fast.reference import attention as reference

_attention = Op(
    "attention(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, Tensor cu_seqlens_k,"
    " SymInt max_seqlen_q, SymInt max_seqlen_k, bool causal, float scale, float dropout_p,"
    " SymInt seed) -> (Tensor, Tensor)",
    fake=lambda q, *rest: (
        q.new_empty(q.shape),
        q.new_empty(q.shape[:2], dtype=torch.promote_types(q.dtype, torch.float32)),
    ),
)
_attention_backward = Op(
    "attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse,"
    " Tensor cu_seqlens_q, Tensor cu_seqlens_k, SymInt max_seqlen_q, SymInt max_seqlen_k,"
    " bool causal, float scale, float dropout_p, SymInt seed) -> (Tensor, Tensor, Tensor)",
    fake=lambda grad, q, k, v, *rest: (
        q.new_empty(q.shape),
        k.new_empty(k.shape),
        v.new_empty(v.shape),
    ),
)

_attention.impl("reference")(reference.attention)
_attention_backward.impl("reference")(reference.attention_backward)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        causal: bool,
        scale: float,
        dropout_p: float,
        seed: int,
    ) -> Tensor:
        ctx.options = (max_seqlen_q, max_seqlen_k, causal, scale, dropout_p, seed)
        out, lse = _attention(q, k, v, cu_seqlens_q, cu_seqlens_k, *ctx.options)
        ctx.save_for_backward(q, k, v, out, lse, cu_seqlens_q, cu_seqlens_k)
        result: Tensor = out
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_q, grad_k, grad_v = _attention_backward(*grads, *ctx.saved_tensors, *ctx.options)
        return grad_q, grad_k, grad_v, None, None, None, None, None, None, None, None


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    *,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool = False,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Attend within each of S packed sequences.

    Scores and softmax are float32 or wider. A query that sees no key gets zeros. Dropout of the
    weights is a function of where a weight stands, the same in forward and backward and on every
    backend: with uint32 arithmetic that wraps around, let

        mix(x): x ^= x >> 16; x *= 0x85EBCA6B; x ^= x >> 13; x *= 0xC2B2AE35; x ^= x >> 16
        h = seed;  for c in (sequence, head, i, j // 2):  h = mix(h + c * 0x9E3779B9)

    and keep weight (i, j) if the low (even j) or high (odd j) half of h, as int16, is at least
    `round(65536 dropout_p) - 32768`; i and j count from the start of the sequence. Kept weights are
    divided by `1 - dropout_p`.

    Args:
        q: (Tq, N, E) floating point. Under autocast q, k and v are cast to its dtype.
        k: (Tk, N, E).
        v: (Tk, N, E).
        cu_seqlens_q: (S + 1,) int32, first row of each sequence in q, then Tq.
        cu_seqlens_k: (S + 1,) int32, the same for k and v.
        max_seqlen_q: length of the longest sequence in q, or more.
        max_seqlen_k: the same for k and v.
        causal: query i of a sequence of nq queries and nk keys sees keys `j <= i + (nk - nq)`.
        scale: factor on the scores, `E ** -0.5` by default.
        dropout_p: probability of dropping a weight, in [0, 1).
        seed: of the dropout, taken modulo 2^32.

    Returns:
        (Tq, N, E) in the dtype of q.

    Raises:
        ValueError: shapes or dtypes disagree, `dropout_p` is out of range; on a CPU also if a
            sequence is longer than `max_seqlen` says.
    """
    if torch.is_autocast_enabled(q.device.type) and q.dtype != torch.float64:
        q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
    _check(q, k, v, cu_seqlens_q, cu_seqlens_k, dropout_p)
    scale = q.shape[2] ** -0.5 if scale is None else float(scale)
    # Where one tensor is several arguments of an autograd.Function, Dynamo (PyTorch 2.11) keeps the
    # gradient of the last one only; views are tensors of their own.
    q, k, v = q.view_as(q), k.view_as(k), v.view_as(v)
    result: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        q,
        k,
        v,
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q,
        max_seqlen_k,
        causal,
        scale,
        float(dropout_p),
        seed,
    )
    return result


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    dropout_p: float,
) -> None:
    if q.ndim != 3 or k.shape != v.shape or q.shape[1:] != k.shape[1:]:
        raise ValueError(
            f"attention: received q {tuple(q.shape)}, k {tuple(k.shape)} and v {tuple(v.shape)}, "
            "expected (Tq, N, E), (Tk, N, E) and (Tk, N, E)"
        )
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            f"attention: received q of {q.dtype}, k of {k.dtype} and v of {v.dtype}, expected one "
            "dtype; cast them, or run under torch.autocast"
        )
    if cu_seqlens_q.ndim != 1 or cu_seqlens_q.shape != cu_seqlens_k.shape:
        raise ValueError(
            f"attention: received cu_seqlens_q {tuple(cu_seqlens_q.shape)} and cu_seqlens_k "
            f"{tuple(cu_seqlens_k.shape)}, expected both (S + 1,)"
        )
    if not 0 <= dropout_p < 1:
        raise ValueError(f"attention: received dropout_p {dropout_p}, expected 0 to below 1")
