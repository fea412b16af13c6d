"""Sums and counts of the rows of each code: a counting sort, then sums of chunks in a fixed order.

Rows are sorted by code (`dictionary_sort`); `sum_chunks_kernel` sums CHUNK rows of one code, one
program per chunk and tile of columns; `add_chunks_kernel` adds the partial sums of codes of several
chunks, one after another. The indices alone decide the order of additions, so that the bits of a
sum are the same in every run, also with all rows in one code.

The size of every launch follows from N and K: nothing waits for the device. `add_rows_kernel` adds
by atomic additions instead, in fewer launches, for those who do not mind the order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.dictionary_sort import label_kernel, place_kernel, plan_kernel
from vlp_fast.kernels.launch import bound, on_device_of, readable, with_neighbouring_columns

# Not yet measured. A block's histogram takes 4 K bytes, ranks within a block BLOCK comparisons a
# row; a code of one chunk needs no partial sums.
BLOCK = 512
CHUNK = 256
CHECKED_ROWS = 16
CODES_BLOCK = 1024
BLOCK_D = 128
STEP = 16
RANK_STEP = 8


@triton.jit(do_not_specialize=["num_blocks"])
def sum_chunks_kernel(
    x_ptr,
    order_ptr,
    ends_ptr,
    chunk_ends_ptr,
    partial_ptr,
    sums_ptr,
    num_codes,
    num_blocks,
    width,
    stride_xn,
    CHUNK: tl.constexpr,
    STEP: tl.constexpr,
    CODES: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Sum one chunk: to the code's sums if it is its only one, else to the chunk's partial sums."""
    chunk = tl.program_id(0)
    code = 0  # as many codes end before this chunk
    chunks_before = 0
    for first in range(0, num_codes, CODES):
        codes = first + tl.arange(0, CODES)
        ends = tl.load(chunk_ends_ptr + codes, mask=codes < num_codes, other=2**31 - 1)
        is_before = ends <= chunk
        code += tl.sum(is_before.to(tl.int32), 0)
        chunks_before = tl.maximum(chunks_before, tl.max(tl.where(is_before, ends, 0), 0))
    if code < num_codes:
        last = (code.to(tl.int64) + 1) * num_blocks - 1
        start = tl.load(ends_ptr + last - num_blocks, mask=code > 0, other=0)
        count = tl.load(ends_ptr + last) - start
        first_row = (chunk - chunks_before) * CHUNK
        num_rows = tl.minimum(count - first_row, CHUNK)
        places = order_ptr + start + first_row
        at = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
        total = tl.zeros((STEP, BLOCK_D), tl.float32)
        for first in range(0, CHUNK, STEP):
            step = first + tl.arange(0, STEP)
            inside = step < num_rows
            rows = tl.load(places + step, mask=inside, other=0)
            mask = inside[:, None] & (at < width)[None, :]
            x = tl.load(x_ptr + rows[:, None] * stride_xn + at[None, :], mask=mask, other=0.0)
            total += x.to(tl.float32)
        is_only = count <= CHUNK
        base = tl.where(is_only, sums_ptr, partial_ptr)
        place = base + tl.where(is_only, code, chunk).to(tl.int64) * width
        tl.store(place + at, tl.sum(total, 0), mask=at < width)


@triton.jit
def add_chunks_kernel(
    chunk_ends_ptr,
    partial_ptr,
    sums_ptr,
    width,
    BLOCK_D: tl.constexpr,
):
    """Sums of a code whose rows are not exactly one chunk: none, or several."""
    code = tl.program_id(0)
    end = tl.load(chunk_ends_ptr + code)
    start = tl.load(chunk_ends_ptr + code - 1, mask=code > 0, other=0)
    if end - start != 1:
        at = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
        total = tl.zeros((BLOCK_D,), tl.float64)
        chunk = start
        while chunk < end:
            partial = partial_ptr + chunk.to(tl.int64) * width + at
            total += tl.load(partial, mask=at < width, other=0.0).to(tl.float64)
            chunk += 1
        place = sums_ptr + code.to(tl.int64) * width + at
        tl.store(place, total.to(tl.float32), mask=at < width)


@triton.jit(do_not_specialize=["num_rows"])
def add_rows_kernel(
    x_ptr,
    labels_ptr,
    sums_ptr,
    num_rows,
    width,
    stride_xn,
    ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Add rows to the sums of their codes in whatever order programs come."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    label = tl.load(labels_ptr + rows, mask=rows < num_rows, other=-1)
    at = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mask = (label >= 0)[:, None] & (at < width)[None, :]
    x = tl.load(x_ptr + rows[:, None] * stride_xn + at[None, :], mask=mask, other=0.0)
    place = sums_ptr + label.to(tl.int64)[:, None] * width + at[None, :]
    tl.atomic_add(place, x.to(tl.float32), mask=mask, sem="relaxed")


def code_statistics(
    x: Tensor,
    indices: Tensor,
    num_codes: int,
    valid: Tensor | None,
    check_finite: bool,
    deterministic: bool,
) -> Tensor:
    """Return one float32 buffer: (K, D) sums, K counts, the number of rows that are not finite.

    Args:
        x: (N, D) float32, bfloat16 or float16.
        indices: (N,) int64 below `num_codes`; rows with a negative one do not count.
        num_codes: K.
        valid: (N,) bool, or `None`.
        check_finite: whether rows are read to find those that are not finite.
        deterministic: whether the order of additions is fixed.
    """
    rows, width = x.shape
    buffer = x.new_zeros(num_codes * (width + 1) + 1, dtype=torch.float32)
    if rows == 0:
        return buffer
    x = with_neighbouring_columns(readable(x))
    sums, counts = buffer[: num_codes * width], buffer[num_codes * width :]
    with on_device_of("code_statistics", x):
        if deterministic:
            _in_fixed_order(x, indices, valid, check_finite, sums, counts)
        else:
            _in_any_order(x, indices, valid, check_finite, sums, counts)
    return buffer


def _label(
    x: Tensor,
    indices: Tensor,
    valid: Tensor | None,
    check_finite: bool,
    histogram: Tensor,
    non_finite: Tensor,
    block: int,
    num_codes: int,
) -> Tensor:
    """Labels (N,) int32; counts rows into `histogram`, those that are not finite beside it."""
    rows, width = x.shape
    labels = torch.empty_like(indices, dtype=torch.int32)
    rows_at_once = CHECKED_ROWS if check_finite else BLOCK
    label_kernel[(triton.cdiv(rows, rows_at_once),)](
        x,
        indices.contiguous(),
        None if valid is None else valid.contiguous(),
        labels,
        histogram,
        non_finite,
        rows,
        num_codes,
        bound(width),
        triton.cdiv(rows, block),
        x.stride(0),
        CHECK_FINITE=check_finite,
        BLOCK=block,
        ROWS=rows_at_once,
        BLOCK_D=2 * BLOCK_D,
    )
    return labels


def _in_fixed_order(
    x: Tensor,
    indices: Tensor,
    valid: Tensor | None,
    check_finite: bool,
    sums: Tensor,
    counts: Tensor,
) -> None:
    rows, width = x.shape
    num_codes, blocks = len(counts) - 1, triton.cdiv(rows, BLOCK)
    histogram = x.new_zeros(num_codes * blocks, dtype=torch.int32)
    # Tensors of their own: the alignment of a slice would depend on N, and compile anew.
    non_finite = x.new_zeros(1, dtype=torch.int32)
    labels = _label(x, indices, valid, check_finite, histogram, non_finite, BLOCK, num_codes)
    ends = histogram.cumsum(0, dtype=torch.int32)
    order = torch.empty_like(indices, memory_format=torch.contiguous_format)
    place_kernel[(blocks,)](
        labels, histogram, ends, order, rows, blocks, BLOCK=BLOCK, RANK_STEP=RANK_STEP, num_warps=8
    )
    chunk_ends = histogram.new_empty(num_codes)
    plan_kernel[(1,)](
        ends,
        non_finite,
        chunk_ends,
        counts,
        bound(num_codes),
        blocks,
        CHUNK=CHUNK,
        CODES=CODES_BLOCK,
    )
    most_chunks, tiles = rows // CHUNK + min(num_codes, rows), triton.cdiv(width, BLOCK_D)
    partial = sums.new_empty((most_chunks, width))
    sum_chunks_kernel[(most_chunks, tiles)](
        x,
        order,
        ends,
        chunk_ends,
        partial,
        sums,
        bound(num_codes),
        blocks,
        width,
        x.stride(0),
        CHUNK=CHUNK,
        STEP=STEP,
        CODES=CODES_BLOCK,
        BLOCK_D=BLOCK_D,
    )
    add_chunks_kernel[(num_codes, tiles)](chunk_ends, partial, sums, width, BLOCK_D=BLOCK_D)


def _in_any_order(
    x: Tensor,
    indices: Tensor,
    valid: Tensor | None,
    check_finite: bool,
    sums: Tensor,
    counts: Tensor,
) -> None:
    rows, width = x.shape
    num_codes = len(counts) - 1
    histogram = torch.zeros_like(counts[:-1], dtype=torch.int32)
    non_finite = x.new_zeros(1, dtype=torch.int32)
    # One block: its histogram is the counts.
    labels = _label(x, indices, valid, check_finite, histogram, non_finite, 2**30, num_codes)
    torch.cat((histogram, non_finite), out=counts)
    add_rows_kernel[(triton.cdiv(rows, STEP), triton.cdiv(width, BLOCK_D))](
        x, labels, sums, rows, width, x.stride(0), ROWS=STEP, BLOCK_D=BLOCK_D
    )
