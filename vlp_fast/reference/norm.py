"""Residual connection, dropout and layer norm in plain torch (Ba et al., 2016, eq. 4).

    summed = residual + dropout(x),   normed = (summed - mean) rstd weight + bias

with the mean of a row and `rstd = (variance + eps) ** -0.5`. Statistics are float32 (float64 for
float64) and those of `summed` as it is returned: the backward pass has nothing else to start from,
and a constant row normalises to exactly `bias` however much rounding its sum took.
"""

import torch
from torch import Tensor

from vlp_fast.reference.dropout import dropout_factors
from vlp_fast.reference.precision import widen


def residual_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`normed` and `summed` (T, D) in the dtype of `residual`; mean and rstd of each row (T,)."""
    wide = widen(residual)
    summed = (wide + _dropped(x.to(wide.dtype), dropout_p, seed)).to(residual.dtype)
    normed, mean, rstd = torch.native_layer_norm(
        summed.to(wide.dtype), weight.shape, weight.to(wide.dtype), bias.to(wide.dtype), eps
    )
    return normed.to(residual.dtype), summed, mean.flatten(), rstd.flatten()


def residual_norm_backward(
    grad_normed: Tensor,
    grad_summed: Tensor | None,
    summed: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    dropout_p: float,
    seed: Tensor | None,
    grad_x: Tensor | None,
    grad_residual: Tensor,
    grad_weight: Tensor | None,
    grad_bias: Tensor | None,
) -> None:
    """Write the gradients; with `h = (summed - mean) rstd` and `g = grad_normed weight`,

    grad_residual = grad_summed + rstd (g - mean(g) - h mean(g h)),   grad_x = its dropout,
    grad_weight = sum of grad_normed h over rows,   grad_bias = sum of grad_normed.
    """
    dtype, has_parameters = mean.dtype, grad_weight is not None
    # About the mean: in PyTorch 2.11 the kernel for CPUs loses digits to a mean far from zero.
    centred = summed.to(dtype) - mean[:, None]
    grad, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(
        grad_normed.to(dtype),
        centred,
        weight.shape,
        torch.zeros_like(mean)[:, None],
        rstd[:, None],
        weight.to(dtype),
        weight.to(dtype),  # only whether there is a bias counts
        [True, has_parameters, has_parameters],
    )
    if grad_weight is not None and grad_bias is not None:
        grad_weight.copy_(of_weight)
        grad_bias.copy_(of_bias)
    if grad_summed is not None:
        grad += grad_summed
    grad_residual.copy_(grad)
    if grad_x is not None:
        grad_x.copy_(_dropped(grad, dropout_p, seed))


def _dropped(x: Tensor, dropout_p: float, seed: Tensor | None) -> Tensor:
    """Dropout by the hash of row and column; a NaN stays one, dropped or not."""
    if seed is None:
        return x
    rows, columns = x.shape
    factors = dropout_factors([(0, rows)], columns, dropout_p=dropout_p, seed=seed, dtype=x.dtype)
    return factors.mul_(x)
