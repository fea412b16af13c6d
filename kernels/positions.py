"""A linear layer whose epilogue adds rows of a table: the product never leaves for the addition.

    out = x weight^T + bias;   out[t, :G] += sum_m table[indices[t, m]]

One program per tile of the output. Programs that run together take tiles of GROUP rows of tiles
next to each other, so that what they read of x and weight stays in the L2 cache. Everything is
added up in float32 and rounded once. The table is small and stays in that cache too; tiles behind
its last column skip it. The number of rows is a run-time number. Not yet measured: tensor
descriptors on Hopper, and programs that stay for several tiles.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels import dictionary_statistics
from vlp_fast.kernels.launch import (
    architecture,
    bound,
    copy_back,
    on_device_of,
    readable,
    with_neighbouring_columns,
)
from vlp_fast.kernels.tiling import product_tile


@triton.jit
def tile_of(program, tile_rows, tile_columns, GROUP: tl.constexpr):
    """Row and column of a program's tile: down GROUP rows, then on to the next column."""
    per_group = GROUP * tile_columns
    first_row = program // per_group * GROUP
    group_rows = tl.minimum(tile_rows - first_row, GROUP)
    within = program % per_group
    return first_row + within % group_rows, within // group_rows


@triton.jit
def _product(
    x_rows,
    weight_rows,
    width,
    PRECISION: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Products of a tile of rows with a tile of weights, accumulated in float32."""
    columns = tl.arange(0, BLOCK_D)
    products = tl.zeros((BLOCK_T, BLOCK_F), tl.float32)
    for first in range(0, width, BLOCK_D):
        at = first + columns
        in_row = at < width
        x = tl.load(x_rows[:, None] + at[None, :], mask=in_row[None, :], other=0.0)
        w = tl.load(weight_rows[None, :] + at[:, None], mask=in_row[:, None], other=0.0)
        products = tl.dot(x, w, products, input_precision=PRECISION)
    return products


@triton.jit
def _finish(
    out,
    rows,
    columns,
    bias_ptr,
    table_ptr,
    indices_ptr,
    out_ptr,
    num_rows,
    features,
    table_rows,
    positioned,
    POSITIONS: tl.constexpr,
):
    """Add bias and positions to a tile of products, and store it."""
    in_batch, in_out = rows < num_rows, columns < features
    out += tl.load(bias_ptr + columns, mask=in_out, other=0.0).to(tl.float32)[None, :]
    if tl.min(columns, 0) < positioned:
        for position in tl.static_range(POSITIONS):
            index = tl.load(indices_ptr + rows * POSITIONS + position, mask=in_batch, other=-1)
            # Beyond the table nothing may be read, whatever the indices say.
            is_added = (index >= 0) & (index < table_rows)
            place = index.to(tl.int64)[:, None] * positioned + columns[None, :]
            mask = is_added[:, None] & (columns < positioned)[None, :]
            out += tl.load(table_ptr + place, mask=mask, other=0.0).to(tl.float32)
    place = rows[:, None] * features + columns[None, :]
    tl.store(out_ptr + place, out, mask=in_batch[:, None] & in_out[None, :])


@triton.jit(do_not_specialize=["num_rows", "table_rows"])
def linear_with_positions_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    table_ptr,
    indices_ptr,
    out_ptr,
    num_rows,
    features,
    width,
    table_rows,
    positioned,
    stride_xt,
    stride_wf,
    POSITIONS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_D: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One tile of the output, (BLOCK_T, BLOCK_F)."""
    tile_row, tile_column = tile_of(
        tl.program_id(0), tl.cdiv(num_rows, BLOCK_T), tl.cdiv(features, BLOCK_F), GROUP
    )
    rows = tile_row.to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    columns = tile_column * BLOCK_F + tl.arange(0, BLOCK_F)
    # Beyond the last row and output, the last one again: loads need no mask but that of the width.
    x_rows = x_ptr + tl.minimum(rows, num_rows - 1) * stride_xt
    weight_rows = weight_ptr + tl.minimum(columns, features - 1).to(tl.int64) * stride_wf
    out = _product(x_rows, weight_rows, width, PRECISION, BLOCK_T, BLOCK_F, BLOCK_D)

    # By halves: bias, positions and addresses of all columns at once would spill.
    halves = tl.permute(tl.reshape(out, (BLOCK_T, 2, BLOCK_F // 2)), (0, 2, 1))
    left, right = tl.split(halves)
    for half in tl.static_range(2):
        _finish(
            left if half == 0 else right,
            rows,
            tile_column * BLOCK_F + half * (BLOCK_F // 2) + tl.arange(0, BLOCK_F // 2),
            bias_ptr,
            table_ptr,
            indices_ptr,
            out_ptr,
            num_rows,
            features,
            table_rows,
            positioned,
            POSITIONS,
        )


def linear_with_positions(
    x: Tensor, weight: Tensor, bias: Tensor, table: Tensor, indices: Tensor
) -> Tensor:
    """Return (T, F) in the dtype of x.

    Args:
        x: (T, D) float32, bfloat16 or float16; float32 is multiplied in TF32 where torch may.
        weight: (F, D), of this dtype as all but the last.
        bias: (F,).
        table: (R, G), G at most F.
        indices: (T, M) int32, M 1 or 2; an index below 0 adds nothing.
    """
    rows, width, features = *x.shape, weight.shape[0]
    out = x.new_empty(rows, features)
    if out.numel() == 0:
        return out
    allows_tf32 = torch.backends.cuda.matmul.fp32_precision == "tf32"
    precision = "tf32" if allows_tf32 else "ieee"
    tile = product_tile(architecture(x.device), x.dtype)
    x, weight = (with_neighbouring_columns(readable(matrix)) for matrix in (x, weight))
    written = readable(out)
    with on_device_of("linear_with_positions", x):
        linear_with_positions_kernel[tile.programs(rows, features)](
            x,
            weight,
            readable(bias).contiguous(),
            readable(table).contiguous(),
            indices.contiguous(),
            written,
            rows,
            features,
            bound(width),
            len(table),
            table.shape[1],
            x.stride(0),
            weight.stride(0),
            POSITIONS=indices.shape[1],
            PRECISION=precision,
            **tile.options(),
        )
    copy_back(written, out)
    return out


def sum_by_index(x: Tensor, indices: Tensor, num_rows: int) -> Tensor:
    """Return the sum of the rows of x (T, G) that have an index: (R, G) float32.

    They are sorted by index and added up in that order, as the rows of a dictionary's code.
    """
    parts = []
    for index in indices.unbind(1):
        buffer = dictionary_statistics.code_statistics(
            x, index.long(), num_rows, None, check_finite=False, deterministic=True
        )
        parts.append(buffer[: num_rows * x.shape[1]].view(num_rows, x.shape[1]))
    return parts[0] if len(parts) == 1 else parts[0].add_(parts[1])
