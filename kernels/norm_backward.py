"""Gradients of residual connection, dropout and layer norm, in two launches.

With `h = (summed - mean) rstd` and `g = grad_normed weight`,

    grad_residual = grad_summed + rstd (g - mean(g) - h mean(g h)),   grad_x = its dropout,
    grad_weight = sum of grad_normed h over rows,   grad_bias = sum of grad_normed.

`residual_norm_backward_kernel` takes one chunk of rows a program, writes their gradients, and the
sums of the chunk; `add_norm_chunks_kernel` adds these up. The number of rows alone decides what the
chunks are and the order of additions: the bits are the same in every run and on every GPU.
"""

import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.dropout import factors_of_rows, threshold_of
from vlp_fast.kernels.launch import (
    bound,
    copy_back,
    on_device_of,
    readable,
    with_neighbouring_columns,
)
from vlp_fast.kernels.tiling import norm_tile

# Not yet measured. As many programs fill the SMs of an H200 several times; 1024 partial sums of
# weight and bias are 6 MiB at width 768.
MOST_CHUNKS = 1024
STEP = 32
BLOCK_SUMS = 64


@triton.jit(do_not_specialize=["num_rows", "chunk"], do_not_specialize_on_alignment=["seed_ptr"])
def residual_norm_backward_kernel(
    grad_normed_ptr,
    grad_summed_ptr,
    summed_ptr,
    weight_ptr,
    mean_ptr,
    rstd_ptr,
    seed_ptr,
    grad_x_ptr,
    grad_residual_ptr,
    partial_ptr,
    num_rows,
    chunk,
    width,
    stride_nt,
    stride_st,
    threshold,
    scale,
    ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program per `chunk` rows, ROWS at a time; partial sums are (chunks, 2, D)."""
    first_row = tl.program_id(0).to(tl.int64) * chunk
    columns = tl.arange(0, BLOCK_D)
    in_row = columns < width
    weight = tl.load(weight_ptr + columns, mask=in_row, other=0.0).to(tl.float32)
    of_weight = tl.zeros((BLOCK_D,), tl.float32)
    of_bias = tl.zeros((BLOCK_D,), tl.float32)
    for first in range(0, chunk, ROWS):
        rows = first_row + first + tl.arange(0, ROWS)
        in_batch = rows < num_rows
        mask = in_batch[:, None] & in_row[None, :]
        place = rows[:, None] * stride_nt + columns[None, :]
        grad = tl.load(grad_normed_ptr + place, mask=mask, other=0.0).to(tl.float32)
        place = rows[:, None] * width + columns[None, :]
        summed = tl.load(summed_ptr + place, mask=mask, other=0.0).to(tl.float32)
        mean = tl.load(mean_ptr + rows, mask=in_batch, other=0.0)[:, None]
        rstd = tl.load(rstd_ptr + rows, mask=in_batch, other=0.0)[:, None]
        standardised = tl.where(mask, (summed - mean) * rstd, 0.0)
        if partial_ptr is not None:
            of_weight += tl.sum(grad * standardised, 0)
            of_bias += tl.sum(grad, 0)

        scaled = grad * weight[None, :]
        level = (tl.sum(scaled, 1) / width)[:, None]
        along = (tl.sum(scaled * standardised, 1) / width)[:, None]
        found = (scaled - level - standardised * along) * rstd
        if grad_summed_ptr is not None:
            at = rows[:, None] * stride_st + columns[None, :]
            found += tl.load(grad_summed_ptr + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(grad_residual_ptr + place, found, mask=mask)
        if grad_x_ptr is not None:
            if seed_ptr is not None:
                found *= factors_of_rows(seed_ptr, rows, columns, threshold, scale)
            tl.store(grad_x_ptr + place, found, mask=mask)
    if partial_ptr is not None:
        sums = partial_ptr + tl.program_id(0).to(tl.int64) * 2 * width + columns
        tl.store(sums, of_weight, mask=in_row)
        tl.store(sums + width, of_bias, mask=in_row)


@triton.jit(do_not_specialize=["num_chunks"])
def add_norm_chunks_kernel(
    partial_ptr,
    grad_weight_ptr,
    grad_bias_ptr,
    num_chunks,
    width,
    STEP: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Add the partial sums of all chunks: programs (_, 0) those of weight, (_, 1) those of bias."""
    columns = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_row = columns < width
    which = tl.program_id(1)
    total = tl.zeros((STEP, BLOCK_D), tl.float32)
    for first in range(0, num_chunks, STEP):
        chunks = first + tl.arange(0, STEP)
        mask = (chunks < num_chunks)[:, None] & in_row[None, :]
        place = (chunks.to(tl.int64)[:, None] * 2 + which) * width + columns[None, :]
        total += tl.load(partial_ptr + place, mask=mask, other=0.0)
    found = tl.sum(total, 0)
    if which == 0:
        tl.store(grad_weight_ptr + columns, found, mask=in_row)
    else:
        tl.store(grad_bias_ptr + columns, found, mask=in_row)


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
    """Write the gradients of x, residual (T, D), weight and bias (D,), those that are not `None`.

    Args:
        grad_normed: (T, D).
        grad_summed: (T, D), or `None` for zeros.
        summed: (T, D) as the forward pass returned it, contiguous.
        weight: (D,).
        mean: (T,) float32, of the forward pass, contiguous.
        rstd: (T,) float32, the same.
        dropout_p: probability of dropping a value of x.
        seed: () integer, or `None` for no dropout.
        grad_x: (T, D) contiguous, written to, as all that follow.
        grad_residual: (T, D) contiguous.
        grad_weight: (D,) contiguous, `None` if `grad_bias` is.
        grad_bias: (D,) contiguous.
    """
    rows, width = summed.shape
    tile = norm_tile("residual_norm", width)
    chunk = triton.cdiv(triton.cdiv(max(rows, 1), MOST_CHUNKS), tile.rows) * tile.rows
    chunks = triton.cdiv(rows, chunk)
    partial = None
    if grad_weight is not None:
        partial = mean.new_empty((chunks, 2, width))
    grad_normed = with_neighbouring_columns(readable(grad_normed))
    if grad_summed is not None:
        grad_summed = with_neighbouring_columns(readable(grad_summed))
    written_x = None if grad_x is None else readable(grad_x)
    written = readable(grad_residual)
    with on_device_of("residual_norm", summed):
        if rows > 0:
            residual_norm_backward_kernel[(chunks,)](
                grad_normed,
                grad_summed,
                readable(summed),
                readable(weight).contiguous(),
                mean,
                rstd,
                seed,
                written_x,
                written,
                partial,
                rows,
                bound(chunk),
                width,
                grad_normed.stride(0),
                width if grad_summed is None else grad_summed.stride(0),
                threshold_of(dropout_p),
                1 / (1 - dropout_p),
                ROWS=tile.rows,
                BLOCK_D=tile.columns,
                num_warps=tile.warps,
            )
        _add_chunks(partial, grad_weight, grad_bias)
    copy_back(written_x, grad_x)
    copy_back(written, grad_residual)


def _add_chunks(
    partial: Tensor | None, grad_weight: Tensor | None, grad_bias: Tensor | None
) -> None:
    if partial is None or grad_weight is None or grad_bias is None:
        return
    chunks, _, width = partial.shape
    written = [readable(gradient) for gradient in (grad_weight, grad_bias)]
    add_norm_chunks_kernel[(triton.cdiv(width, BLOCK_SUMS), 2)](
        partial, *written, bound(chunks), width, STEP=STEP, BLOCK_D=BLOCK_SUMS
    )
    copy_back(written[0], grad_weight)
    copy_back(written[1], grad_bias)
