"""Sums and counts of the rows of each code: a counting sort, then sums of chunks in a fixed order.

    label       code of each row, -1 for rows that do not count; histogram of each block of rows
    (scan)      one cumulative sum over (code, block): where the rows of each pair begin
    place       row numbers in order of code, and of row within a code
    plan        how many chunks of CHUNK rows each code has, and the counts
    sum_chunks  one program per chunk and tile of columns: partial sums
    add_chunks  partial sums of codes of several chunks, one after another

Integers are counted by atomic additions, which commute; floating-point numbers are added in an order
that the indices alone decide, so that the bits of a sum are the same in every run. The size of every
launch follows from N and K: nothing waits for the device. `add_rows` adds by atomic additions
instead, in fewer launches: for few rows, and for those who do not mind the order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.launch import bound, on_device_of, readable

# Not yet measured. A block's histogram takes 4 K bytes, ranks within a block BLOCK comparisons a
# row; a code of one chunk needs no partial sums.
BLOCK = 512
CHUNK = 256
CHECKED_ROWS = 16
CODES_BLOCK = 1024
BLOCK_D = 128
STEP = 16
RANK_STEP = 8


@triton.jit(do_not_specialize=["num_rows", "num_blocks"])
def label_kernel(
    x_ptr,
    indices_ptr,
    valid_ptr,
    labels_ptr,
    histogram_ptr,
    non_finite_ptr,
    num_rows,
    num_codes,
    width,
    num_blocks,
    stride_xn,
    CHECK_FINITE: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Label ROWS rows, and count them in the histogram (K, blocks) of their block of BLOCK rows."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    in_batch = rows < num_rows
    index = tl.load(indices_ptr + rows, mask=in_batch, other=-1)
    counts = in_batch
    if valid_ptr is not None:
        counts = counts & (tl.load(valid_ptr + rows, mask=in_batch, other=0) != 0)
    if CHECK_FINITE:
        bad = tl.zeros((ROWS,), tl.int32)
        for first in range(0, width, BLOCK_D):
            at = first + tl.arange(0, BLOCK_D)
            mask = counts[:, None] & (at < width)[None, :]
            x = tl.load(x_ptr + rows[:, None] * stride_xn + at[None, :], mask=mask, other=0.0)
            bad += tl.sum(tl.where(tl.abs(x.to(tl.float32)) < float("inf"), 0, 1), 1)
        is_finite = bad == 0
    else:
        is_finite = index >= 0
    non_finite = tl.sum((counts & (is_finite == 0)).to(tl.int32), 0)
    if non_finite > 0:
        tl.atomic_add(non_finite_ptr, non_finite, sem="relaxed")
    # Beyond the last code nothing may be written, whatever the indices say.
    counts = counts & is_finite & (index >= 0) & (index < num_codes)
    tl.store(labels_ptr + rows, tl.where(counts, index, -1).to(tl.int32), mask=in_batch)
    bins = histogram_ptr + tl.where(counts, index, 0) * num_blocks + rows // BLOCK
    tl.atomic_add(bins, 1, mask=counts, sem="relaxed")


@triton.jit(do_not_specialize=["num_rows", "num_blocks"])
def place_kernel(
    labels_ptr,
    histogram_ptr,
    ends_ptr,
    order_ptr,
    num_rows,
    num_blocks,
    BLOCK: tl.constexpr,
    RANK_STEP: tl.constexpr,
):
    """Row numbers of one block to their places: a row's rank is how many before it share its code."""
    block = tl.program_id(0)
    within = tl.arange(0, BLOCK)
    rows = block.to(tl.int64) * BLOCK + within
    label = tl.load(labels_ptr + rows, mask=rows < num_rows, other=-1)
    rank = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, BLOCK, RANK_STEP):
        others = first + tl.arange(0, RANK_STEP)
        other_rows = block.to(tl.int64) * BLOCK + others
        other = tl.load(labels_ptr + other_rows, mask=other_rows < num_rows, other=-1)
        is_earlier = (other[None, :] == label[:, None]) & (others[None, :] < within[:, None])
        rank += tl.sum(is_earlier.to(tl.int32), 1)
    counts = label >= 0
    bins = label.to(tl.int64) * num_blocks + block
    end = tl.load(ends_ptr + bins, mask=counts, other=0)
    start = end - tl.load(histogram_ptr + bins, mask=counts, other=0)
    tl.store(order_ptr + start + rank, rows, mask=counts)


@triton.jit(do_not_specialize=["num_blocks"])
def plan_kernel(
    ends_ptr,
    non_finite_ptr,
    chunk_ends_ptr,
    counts_ptr,
    num_codes,
    num_blocks,
    CHUNK: tl.constexpr,
    CODES: tl.constexpr,
):
    """One program: where the chunks of each code end, and its count as float32."""
    chunks_before = 0
    for first in range(0, num_codes, CODES):
        codes = first + tl.arange(0, CODES)
        inside = codes < num_codes
        last = (codes.to(tl.int64) + 1) * num_blocks - 1
        end = tl.load(ends_ptr + last, mask=inside, other=0)
        start = tl.load(ends_ptr + last - num_blocks, mask=inside & (codes > 0), other=0)
        count = tl.where(inside, end - start, 0)
        chunks = (count + CHUNK - 1) // CHUNK
        tl.store(chunk_ends_ptr + codes, chunks_before + tl.cumsum(chunks, 0), mask=inside)
        tl.store(counts_ptr + codes, count.to(tl.float32), mask=inside)
        chunks_before += tl.sum(chunks, 0)
    tl.store(counts_ptr + num_codes, tl.load(non_finite_ptr).to(tl.float32))


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
    x = readable(x)
    x = x if x.stride(1) == 1 else x.contiguous()
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
    block: int,
    num_codes: int,
) -> Tensor:
    """Labels (N,) int32. `histogram` ends with the number of rows that are not finite."""
    rows, width = x.shape
    labels = torch.empty_like(indices, dtype=torch.int32)
    rows_at_once = CHECKED_ROWS if check_finite else BLOCK
    label_kernel[(triton.cdiv(rows, rows_at_once),)](
        x,
        indices.contiguous(),
        None if valid is None else valid.contiguous(),
        labels,
        histogram,
        histogram[-1:],
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
    histogram = x.new_zeros(num_codes * blocks + 1, dtype=torch.int32)
    labels = _label(x, indices, valid, check_finite, histogram, BLOCK, num_codes)
    ends = histogram[:-1].cumsum(0, dtype=torch.int32)
    order = torch.empty_like(indices, memory_format=torch.contiguous_format)
    place_kernel[(blocks,)](
        labels, histogram, ends, order, rows, blocks, BLOCK=BLOCK, RANK_STEP=RANK_STEP, num_warps=8
    )
    chunk_ends = histogram.new_empty(num_codes)
    plan_kernel[(1,)](
        ends,
        histogram[-1:],
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
    histogram = torch.zeros_like(counts, dtype=torch.int32)
    # One block: its histogram is the counts.
    labels = _label(x, indices, valid, check_finite, histogram, 2**30, len(counts) - 1)
    counts.copy_(histogram)
    add_rows_kernel[(triton.cdiv(rows, STEP), triton.cdiv(width, BLOCK_D))](
        x, labels, sums, rows, width, x.stride(0), ROWS=STEP, BLOCK_D=BLOCK_D
    )
