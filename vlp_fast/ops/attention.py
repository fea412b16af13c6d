"""Attention over packed sequences: `softmax(q k^T scale) v` within each, nothing padded.

Vaswani et al. (2017), eq. 1, as the encoders and decoders of E2E-VLP and SOHO use it. Position
encodings are added to q and k by the layer.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vlp_fast.ops import attention_device, attention_torch
from vlp_fast.ops.backends import register
from vlp_fast.ops.dropout import check_dropout, seed_on
from vlp_fast.ops.once_differentiable import once_differentiable
from vlp_fast.ops.operands import autocast, check_devices, distinct, is_autocast_on
from vlp_fast.ops.registry import Op
from vlp_fast.reference import attention as reference

_attention = Op(
    "attention(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, Tensor cu_seqlens_k,"
    " Tensor? order, SymInt max_seqlen_q, SymInt max_seqlen_k, bool causal, float scale,"
    " float dropout_p, Tensor? seed) -> (Tensor, Tensor)",
    fake=lambda q, *rest: (
        q.new_empty(q.shape),
        q.new_empty((q.shape[1], q.shape[0]), dtype=torch.promote_types(q.dtype, torch.float32)),
    ),
)
_attention_backward = Op(
    "attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse,"
    " Tensor cu_seqlens_q, Tensor cu_seqlens_k, Tensor? order, SymInt max_seqlen_q,"
    " SymInt max_seqlen_k, bool causal, float scale, float dropout_p, Tensor? seed,"
    " Tensor(a!) grad_q, Tensor(b!) grad_k, Tensor(c!) grad_v) -> ()",
    fake=lambda *_: None,
)

for _op in (_attention, _attention_backward):
    register(
        _op,
        reference=reference,
        pytorch=attention_torch,
        cuda=attention_device,
        triton=_op.name,
    )


class _Attention(torch.autograd.Function):
    """Of (q, k, v), (q, kv) or (qkv,): gradients are laid out as their projection needs them.

    The places are named, because Dynamo (PyTorch 2.11) counts the parameters of `forward` to tell
    whether it takes `ctx`. Bounds of the keys are None where they are the queries': Dynamo
    (PyTorch 2.14) refuses one tensor as two inputs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        second: Tensor | None,
        third: Tensor | None,
        cu_seqlens_q: Tensor,
        cu_seqlens_k: Tensor | None,
        order: Tensor | None,
        seed: Tensor | None,
        options: tuple[int, int, bool, float, float],
    ) -> Tensor:
        ctx.options = options
        bounds = _bounds(cu_seqlens_q, cu_seqlens_k, order)
        out, lse = _attention(*_parts(first, second, third), *bounds, *options, seed)
        sequences = (cu_seqlens_q, cu_seqlens_k, order)
        ctx.save_for_backward(out, lse, *sequences, seed, first, second, third)
        result: Tensor = out
        return result

    @staticmethod
    @once_differentiable("attention")
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        out, lse, cu_seqlens_q, cu_seqlens_k, order, seed, *projected = ctx.saved_tensors
        found = [
            None if x is None else torch.empty_like(x, memory_format=torch.contiguous_format)
            for x in projected
        ]
        bounds = _bounds(cu_seqlens_q, cu_seqlens_k, order)
        inputs = (*grads, *_parts(*projected), out, lse, *bounds)
        _attention_backward(*inputs, *ctx.options, seed, *_parts(*found))
        return *found, None, None, None, None, None


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
    seed: int | Tensor | None = None,
    order: Tensor | None = None,
) -> Tensor:
    """Attend within each of S packed sequences; differentiable once.

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
        seed: of the dropout, taken modulo 2^32; a tensor () int64 on the device of q is not waited
            for. By default the device's generator draws one.
        order: (S,) int32, every sequence once, in the order in which a GPU begins them: the longest
            first is the fastest. Changes no result.

    Returns:
        (Tq, N, E) in the dtype of q.

    Raises:
        ValueError: shapes, dtypes or devices disagree, `dropout_p` is out of range; from backends
            of the CPU also if cu_seqlens does not go from 0 to the number of rows, or a sequence
            is longer than `max_seqlen` says.
    """
    _check(q, k, v)
    lengths = (max_seqlen_q, max_seqlen_k)
    return _attend(
        (q, k, v), cu_seqlens_q, cu_seqlens_k, lengths, causal, scale, dropout_p, seed, order
    )


def attention_kvpacked(
    q: Tensor,
    kv: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    *,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool = False,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | Tensor | None = None,
    order: Tensor | None = None,
) -> Tensor:
    """Attend as `attention` does, keys and values from one projection: kv is (Tk, 2, N, E).

    Their gradients come as one tensor, ready for the backward products of that projection.
    """
    _check(q, *_unpack("kv", kv, 2))
    lengths = (max_seqlen_q, max_seqlen_k)
    return _attend(
        (q, kv), cu_seqlens_q, cu_seqlens_k, lengths, causal, scale, dropout_p, seed, order
    )


def attention_qkvpacked(
    qkv: Tensor,
    cu_seqlens: Tensor,
    *,
    max_seqlen: int,
    causal: bool = False,
    scale: float | None = None,
    dropout_p: float = 0.0,
    seed: int | Tensor | None = None,
    order: Tensor | None = None,
) -> Tensor:
    """Attend as `attention` does within each sequence, from one projection: qkv is (T, 3, N, E).

    The gradient comes as one tensor, ready for the backward products of that projection.
    """
    _check(*_unpack("qkv", qkv, 3))
    lengths = (max_seqlen, max_seqlen)
    return _attend((qkv,), cu_seqlens, cu_seqlens, lengths, causal, scale, dropout_p, seed, order)


def _attend(
    projected: Sequence[Tensor],
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    lengths: tuple[int, int],
    causal: bool,
    scale: float | None,
    dropout_p: float,
    seed: int | Tensor | None,
    order: Tensor | None,
) -> Tensor:
    _check_sequences(cu_seqlens_q, cu_seqlens_k, order)
    check_devices("attention", *projected, cu_seqlens_q, cu_seqlens_k, order)
    check_dropout("attention", dropout_p)
    keys = None if cu_seqlens_k is cu_seqlens_q else cu_seqlens_k.contiguous()
    order = None if order is None else order.contiguous()
    first, second, third = (*distinct(*autocast(*projected)), None, None)[:3]
    scale = projected[0].shape[-1] ** -0.5 if scale is None else float(scale)
    options = (*lengths, causal, scale, float(dropout_p))
    drawn = seed_on(projected[0], seed) if dropout_p > 0 else None
    result: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        first, second, third, cu_seqlens_q.contiguous(), keys, order, drawn, options
    )
    return result


def _bounds(
    cu_seqlens_q: Tensor, cu_seqlens_k: Tensor | None, order: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    return cu_seqlens_q, cu_seqlens_q if cu_seqlens_k is None else cu_seqlens_k, order


def _parts(*projected: Tensor | None) -> list[Tensor]:
    """Take q, k and v out of (q, k, v), (q, kv) or (qkv,)."""
    given = (x for x in projected if x is not None)
    return [part for x in given for part in (x.unbind(1) if x.ndim == 4 else (x,))]


def _unpack(name: str, x: Tensor, parts: int) -> tuple[Tensor, ...]:
    if x.ndim != 4 or x.shape[1] != parts:
        raise ValueError(
            f"attention: received {name} {tuple(x.shape)}, expected (T, {parts}, N, E) with "
            f"{', '.join(name)} side by side; unflatten the projection"
        )
    return x.unbind(1)


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.ndim != 3 or k.shape != v.shape or q.shape[1:] != k.shape[1:] or q.shape[2] == 0:
        raise ValueError(
            f"attention: received q {tuple(q.shape)}, k {tuple(k.shape)} and v {tuple(v.shape)}, "
            "expected (Tq, N, E), (Tk, N, E) and (Tk, N, E), E above 0"
        )
    if not q.is_floating_point():
        raise ValueError(f"attention: received q of {q.dtype}, expected floating point; cast it")
    if not is_autocast_on(q.device.type) and not q.dtype == k.dtype == v.dtype:
        raise ValueError(
            f"attention: received q of {q.dtype}, k of {k.dtype} and v of {v.dtype}, expected one "
            "dtype; cast them, or run under torch.autocast"
        )


def _check_sequences(cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, order: Tensor | None) -> None:
    # Never len(): what is exported would be for that number of sequences alone.
    shapes = cu_seqlens_q.shape, cu_seqlens_k.shape
    if cu_seqlens_q.ndim != 1 or shapes[0] != shapes[1] or shapes[0][0] == 0:
        raise ValueError(
            f"attention: received cu_seqlens_q {tuple(shapes[0])} and cu_seqlens_k "
            f"{tuple(shapes[1])}, expected both (S + 1,)"
        )
    named = {"cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k, "order": order}
    for name, x in named.items():
        if x is not None and x.dtype != torch.int32:
            raise ValueError(
                f"attention: received {name} of {x.dtype}, expected torch.int32; call .int()"
            )
    if order is not None and order.shape != (shapes[0][0] - 1,):
        raise ValueError(
            f"attention: received order {tuple(order.shape)}, expected ({shapes[0][0] - 1},), "
            "every sequence once"
        )
