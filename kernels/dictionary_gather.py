"""The code of each row, written once in the dtype that the rows have."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.launch import on_device_of
from vlp_fast.kernels.rounding import TYPES, rounded

ROWS, BLOCK_D = 16, 256


@triton.jit(do_not_specialize=["num_rows"])
def gather_kernel(
    codes_ptr,
    indices_ptr,
    valid_ptr,
    out_ptr,
    num_rows,
    width,
    stride_ck,
    stride_cd,
    DTYPE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program per ROWS rows and BLOCK_D columns."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_batch = rows < num_rows
    index = tl.load(indices_ptr + rows, mask=in_batch, other=0)
    is_broken = index < 0
    if valid_ptr is not None:
        is_broken = is_broken & (tl.load(valid_ptr + rows, mask=in_batch, other=0) != 0)
    mask = in_batch[:, None] & (columns < width)[None, :]
    places = tl.maximum(index, 0)[:, None] * stride_ck + columns[None, :] * stride_cd
    code = tl.load(codes_ptr + places, mask=mask, other=0.0)
    code = tl.where(is_broken[:, None], float("nan"), code.to(tl.float32))
    out = out_ptr + rows[:, None] * width + columns[None, :]
    tl.store(out, rounded(code, DTYPE), mask=mask)


def gather_codes(
    codes: Tensor, indices: Tensor, dtype: torch.dtype, valid: Tensor | None
) -> Tensor:
    """Return codes (K, D) at indices (N,), in a dtype; NaN where a valid row has a negative one."""
    rows, width = len(indices), codes.shape[1]
    found = codes.new_empty((rows, width), dtype=dtype)
    grid = (triton.cdiv(rows, ROWS), triton.cdiv(width, BLOCK_D))
    if found.numel() > 0:
        with on_device_of("gather_codes", codes):
            gather_kernel[grid](
                codes,
                indices.contiguous(),
                None if valid is None else valid.contiguous(),
                found,
                rows,
                width,
                codes.stride(0),
                codes.stride(1),
                DTYPE=TYPES[dtype],
                ROWS=ROWS,
                BLOCK_D=BLOCK_D,
            )
    return found
