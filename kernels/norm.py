"""Residual connection, dropout and layer norm: a row is read once, and both outputs written.

    summed = residual + dropout(x),   normed = (summed - mean) rstd weight + bias

A program holds some whole rows in registers, so that the variance is one of differences from the
mean, without cancellation. Memory: x and residual in, both outputs out, 14
bytes a value for a float32 stream and a bfloat16 block. The number of rows is a run-time number:
one compilation serves all batches of one width. The definition is `vlp_fast.reference.norm`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.dropout import factors_of_rows, threshold_of
from vlp_fast.kernels.launch import copy_back, on_device_of, readable, with_neighbouring_columns
from vlp_fast.kernels.rounding import TYPES, rounded
from vlp_fast.kernels.tiling import norm_tile

# A NaN in a row is one in its variance.
NAN = tl.constexpr(tl.PropagateNan.ALL)


@triton.jit(do_not_specialize=["num_rows"], do_not_specialize_on_alignment=["seed_ptr"])
def residual_norm_kernel(
    x_ptr,
    residual_ptr,
    weight_ptr,
    bias_ptr,
    seed_ptr,
    normed_ptr,
    summed_ptr,
    mean_ptr,
    rstd_ptr,
    num_rows,
    width,
    stride_xt,
    stride_rt,
    eps,
    threshold,
    scale,
    DTYPE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program per ROWS rows; their statistics are those of the rounded sums."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK_D)
    in_batch, in_row = rows < num_rows, columns < width
    mask = in_batch[:, None] & in_row[None, :]
    place = rows[:, None] * stride_xt + columns[None, :]
    x = tl.load(x_ptr + place, mask=mask, other=0.0).to(tl.float32)
    if seed_ptr is not None:
        x *= factors_of_rows(seed_ptr, rows, columns, threshold, scale)
    place = rows[:, None] * stride_rt + columns[None, :]
    residual = tl.load(residual_ptr + place, mask=mask, other=0.0).to(tl.float32)
    summed = rounded(residual + x, DTYPE)

    mean = tl.sum(summed, 1) / width
    centred = tl.where(in_row[None, :], summed - mean[:, None], 0.0)
    # What rounding left in the mean of a row far from zero: torch's own norm is 1e-3 off at 1e4.
    left = tl.sum(centred, 1) / width
    variance = tl.maximum(
        tl.sum(centred * centred, 1) / width - left * left, 0.0, propagate_nan=NAN
    )
    rstd = 1.0 / tl.sqrt_rn(variance + eps)
    weight = tl.load(weight_ptr + columns, mask=in_row, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + columns, mask=in_row, other=0.0).to(tl.float32)
    normed = (centred - left[:, None]) * rstd[:, None] * weight[None, :] + bias[None, :]

    place = rows[:, None] * width + columns[None, :]
    tl.store(summed_ptr + place, summed, mask=mask)
    tl.store(normed_ptr + place, normed, mask=mask)
    tl.store(mean_ptr + rows, mean + left, mask=in_batch)
    tl.store(rstd_ptr + rows, rstd, mask=in_batch)


def residual_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return `normed` and `summed` (T, D) in the dtype of `residual`, mean and rstd (T,) float32.

    Args:
        x: (T, D) float32, bfloat16 or float16.
        residual: (T, D) of the dtype of x or a wider one.
        weight: (D,).
        bias: (D,).
        eps: added to the variance.
        dropout_p: probability of dropping a value of x.
        seed: () integer, or `None` for no dropout.

    Raises:
        ValueError: D is above 8192.
    """
    rows, width = x.shape
    tile = norm_tile("residual_norm", width)
    normed, summed = (residual.new_empty(residual.shape) for _ in range(2))
    mean, rstd = (residual.new_empty(rows, dtype=torch.float32) for _ in range(2))
    if rows == 0:
        return normed, summed, mean, rstd
    x, residual = (with_neighbouring_columns(readable(matrix)) for matrix in (x, residual))
    written = [readable(output) for output in (normed, summed)]
    with on_device_of("residual_norm", x):
        residual_norm_kernel[(triton.cdiv(rows, tile.rows),)](
            x,
            residual,
            readable(weight).contiguous(),
            readable(bias).contiguous(),
            seed,
            *written,
            mean,
            rstd,
            rows,
            width,
            x.stride(0),
            residual.stride(0),
            eps,
            threshold_of(dropout_p),
            1 / (1 - dropout_p),
            DTYPE=TYPES[normed.dtype],
            ROWS=tile.rows,
            BLOCK_D=tile.columns,
            num_warps=tile.warps,
        )
    copy_back(written[0], normed)
    copy_back(written[1], summed)
    return normed, summed, mean, rstd
