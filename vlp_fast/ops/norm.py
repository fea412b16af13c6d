"""Residual connection, dropout and layer norm of packed rows in one pass over them.

Both ways round of a Transformer's block: post-norm layers go on with `normed` alone, pre-norm
layers with `summed` as the stream and `normed` as what the next block reads. A pass in front of
memory limits reads x and the stream and writes both outputs, once; backward it reads `summed` and
the gradients. Nothing but `summed` and two numbers a row are kept for it: dropout is computed
again, and the mean and the reciprocal deviation are 8 bytes a row against two reductions.
"""

from typing import Any

import torch
from torch import Tensor

from vlp_fast.ops.backends import register
from vlp_fast.ops.dropout import check_dropout, seed_on
from vlp_fast.ops.once_differentiable import once_differentiable
from vlp_fast.ops.operands import check_devices, distinct
from vlp_fast.ops.registry import Op
from vlp_fast.reference import norm as reference


def _fake_statistic(residual: Tensor) -> Tensor:
    dtype = torch.promote_types(residual.dtype, torch.float32)
    return residual.new_empty(residual.shape[:1], dtype=dtype)


_residual_norm = Op(
    "residual_norm(Tensor x, Tensor residual, Tensor weight, Tensor bias, float eps,"
    " float dropout_p, Tensor? seed) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=lambda x, residual, *_: (
        residual.new_empty(residual.shape),
        residual.new_empty(residual.shape),
        _fake_statistic(residual),
        _fake_statistic(residual),
    ),
)
_residual_norm_backward = Op(
    "residual_norm_backward(Tensor grad_normed, Tensor? grad_summed, Tensor summed, Tensor weight,"
    " Tensor mean, Tensor rstd, float dropout_p, Tensor? seed, Tensor(a!)? grad_x,"
    " Tensor(b!) grad_residual, Tensor(c!)? grad_weight, Tensor(d!)? grad_bias) -> ()",
    fake=lambda *_: None,
)

register(_residual_norm, reference=reference, triton="norm")
register(_residual_norm_backward, reference=reference, triton="norm_backward")


class _ResidualNorm(torch.autograd.Function):
    """Forward and backward operator, and which gradients are wanted."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        dropout_p: float,
        seed: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.dropout_p, ctx.x_dtype = dropout_p, x.dtype
        normed, summed, mean, rstd = _residual_norm(x, residual, weight, bias, eps, dropout_p, seed)
        ctx.save_for_backward(summed, weight, mean, rstd, seed)
        return normed, summed

    @staticmethod
    @once_differentiable("residual_norm")
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        summed, weight, mean, rstd, seed = ctx.saved_tensors
        of_normed, of_summed = grads
        of_normed = torch.zeros_like(summed) if of_normed is None else of_normed
        of_residual = torch.empty_like(summed)
        # Without dropout and between equal dtypes it is the residual's: written and read once.
        is_shared = seed is None and ctx.x_dtype == summed.dtype
        has_own = ctx.needs_input_grad[0] and not is_shared
        of_x = torch.empty_like(summed, dtype=ctx.x_dtype) if has_own else None
        wants_parameters = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
        of_weight = torch.empty_like(weight) if wants_parameters else None
        of_bias = torch.empty_like(weight) if wants_parameters else None
        saved = (summed, weight, mean, rstd, ctx.dropout_p, seed)
        found = (of_x, of_residual, of_weight, of_bias)
        _residual_norm_backward(of_normed, of_summed, *saved, *found)
        of_x = of_residual if is_shared else of_x
        return of_x, of_residual, of_weight, of_bias, None, None, None


def residual_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    eps: float,
    dropout_p: float = 0.0,
    seed: int | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Add what a block computed to the stream of rows, and normalise each row.

        summed = residual + dropout(x)
        normed = (summed - mean(summed)) / sqrt(variance(summed) + eps) * weight + bias

    Arithmetic is float32 (float64 for float64), each output is rounded once, and what is normalised
    is `summed` as it is returned. Autocast casts nothing here: the dtype of the stream is that of
    `residual`, as where torch adds half precision to float32 and normalises in float32.

    Dropout is that of `ops.attention` with the counters (row, column // 2): a value is kept if its
    half of the hash, as int16, is at least `round(65536 dropout_p) - 32768`, and divided by
    `1 - dropout_p`. It depends on the place alone, the same in forward and backward and on every
    backend.

    Args:
        x: (T, D) floating point, of the dtype of `residual` or a narrower one.
        residual: (T, D) floating point, the stream.
        weight: (D,) floating point.
        bias: (D,) of the dtype of `weight`.
        eps: added to the variance, above 0.
        dropout_p: probability of dropping a value of x, in [0, 1).
        seed: of the dropout, taken modulo 2^32; a tensor () int64 on the device of x is not waited
            for. By default the device's generator draws one.

    Returns:
        `normed` and `summed`, (T, D) in the dtype of `residual`. Both are differentiable once.
        Gradients of weight and bias are sums in an order that T decides, the same in every run.

    Raises:
        ValueError: shapes, dtypes or devices disagree; `eps` or `dropout_p` is out of range; for
            Triton, D is above 8192.

    Source: Ba et al. (2016), eq. 4; the residual connections of Vaswani et al. (2017), 3.1 and 5.4.
    """
    _check(x, residual, weight, bias)
    if not eps > 0:
        raise ValueError(f"residual_norm: received eps {eps}, expected a number above 0")
    check_dropout("residual_norm", dropout_p)
    drawn = seed_on(x, seed) if dropout_p > 0 else None
    x, residual, weight, bias = distinct(x, residual, weight, bias)
    normed, summed = _ResidualNorm.apply(  # type: ignore[no-untyped-call]
        x, residual, weight, bias, float(eps), float(dropout_p), drawn
    )
    return normed, summed


def _check(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor) -> None:
    width = x.shape[-1:]
    if x.ndim != 2 or residual.shape != x.shape or weight.shape != width or bias.shape != width:
        raise ValueError(
            f"residual_norm: received x {tuple(x.shape)}, residual {tuple(residual.shape)}, weight "
            f"{tuple(weight.shape)} and bias {tuple(bias.shape)}, expected (T, D), (T, D), (D,) "
            "and (D,); flatten leading dimensions"
        )
    if not (x.is_floating_point() and weight.is_floating_point()):
        raise ValueError(
            f"residual_norm: received x of {x.dtype} and weight of {weight.dtype}, expected "
            "floating point; cast them"
        )
    if torch.promote_types(x.dtype, residual.dtype) != residual.dtype:
        raise ValueError(
            f"residual_norm: received x of {x.dtype} and residual of {residual.dtype}, expected x "
            "of the same dtype or a narrower one; cast one of them"
        )
    if weight.dtype != bias.dtype:
        raise ValueError(
            f"residual_norm: received weight of {weight.dtype} and bias of {bias.dtype}, expected "
            "one dtype; cast one of them"
        )
    check_devices("residual_norm", x, residual, weight, bias)
