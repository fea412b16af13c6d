"""A stable counting sort of rows by code, and the plan of how their sums are cut into chunks.

    label  code of each row, -1 for rows that do not count; histogram of each block of rows
    place  row numbers in order of code, and of row within a code, from the scan of the histograms
    plan   how many chunks each code has, and the counts

Integers are counted by atomic additions, which commute: nothing depends on the order of programs.
"""

import triton
import triton.language as tl


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
    """Row numbers of a block to their places; a rank is how many rows before share the code."""
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
