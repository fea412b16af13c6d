"""The two moving averages of codes: one program per code, after one that moves all cluster sizes.

Quotients and the sum of the sizes run in float64: the codes are few.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.launch import bound, on_device_of

BLOCK_D = 512
SIZES_BLOCK = 1024


@triton.jit
def move_kernel(
    codes_ptr,
    averages_ptr,
    sums_ptr,
    counts_ptr,
    sizes_ptr,
    total_ptr,
    num_codes,
    width,
    stride_ck,
    stride_cd,
    stride_ak,
    stride_ad,
    kept,
    added,
    eps,
    BLOCK_D: tl.constexpr,
):
    """Move one code; the rule of the public code if there are averages of sums, else eq. 4."""
    code_index = tl.program_id(0).to(tl.int64)
    if averages_ptr is None:
        count = tl.load(counts_ptr + code_index)
        is_moved = count > 0
        count = tl.maximum(count, 1.0)
    else:
        total = tl.load(total_ptr)
        size = tl.load(sizes_ptr + code_index).to(tl.float64)
        smoothed = (size + eps) / (total + num_codes * eps) * total
        is_moved = total > 0
    for first in range(0, width, BLOCK_D):
        at = first + tl.arange(0, BLOCK_D)
        inside = at < width
        place = codes_ptr + code_index * stride_ck + at * stride_cd
        old = tl.load(place, mask=inside, other=0.0)
        sums = tl.load(sums_ptr + code_index * width + at, mask=inside, other=0.0)
        if averages_ptr is None:
            moved = kept * old.to(tl.float64) + added * (sums.to(tl.float64) / count)
        else:
            average_place = averages_ptr + code_index * stride_ak + at * stride_ad
            average = tl.load(average_place, mask=inside, other=0.0)
            average = kept * average + added * sums
            tl.store(average_place, average, mask=inside)
            moved = average.to(tl.float64) / smoothed
        tl.store(place, tl.where(is_moved, moved.to(tl.float32), old), mask=inside)


@triton.jit
def sizes_kernel(
    sizes_ptr, counts_ptr, total_ptr, num_codes, stride_s, kept, added, BLOCK: tl.constexpr
):
    """Moving averages of the counts and their sum: one program, so that nobody reads half of it."""
    total = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, num_codes, BLOCK):
        codes = first + tl.arange(0, BLOCK)
        inside = codes < num_codes
        sizes = tl.load(sizes_ptr + codes * stride_s, mask=inside, other=0.0)
        sizes = kept * sizes + added * tl.load(counts_ptr + codes, mask=inside, other=0.0)
        tl.store(sizes_ptr + codes * stride_s, sizes, mask=inside)
        total += sizes.to(tl.float64)
    tl.store(total_ptr, tl.sum(total, 0))


def ema_update(codes: Tensor, sums: Tensor, counts: Tensor, momentum: float) -> None:
    """Eq. 4 in place: codes (K, D) float32 with rows move towards the mean of these."""
    with on_device_of("ema_update", codes):
        _move(codes, None, sums, counts, None, None, momentum, 0.0)


def laplace_ema_update(
    codes: Tensor,
    embed_avg: Tensor,
    cluster_size: Tensor,
    sums: Tensor,
    counts: Tensor,
    momentum: float,
    eps: float,
) -> None:
    """The public code's rule in place, on codes, embed_avg (K, D) and cluster_size (K,) float32."""
    total = codes.new_empty(1, dtype=torch.float64)
    with on_device_of("laplace_ema_update", codes):
        sizes_kernel[(1,)](
            cluster_size,
            counts.contiguous(),
            total,
            bound(codes.shape[0]),
            cluster_size.stride(0),
            momentum,
            1 - momentum,
            BLOCK=SIZES_BLOCK,
        )
        sizes = cluster_size.contiguous()
        _move(codes, embed_avg, sums, counts, sizes, total, momentum, eps)


def _move(
    codes: Tensor,
    averages: Tensor | None,
    sums: Tensor,
    counts: Tensor,
    sizes: Tensor | None,
    total: Tensor | None,
    momentum: float,
    eps: float,
) -> None:
    move_kernel[(codes.shape[0],)](
        codes,
        averages,
        sums.contiguous(),
        counts.contiguous(),
        sizes,
        total,
        codes.shape[0],
        bound(codes.shape[1]),
        *codes.stride(),
        *(codes.stride() if averages is None else averages.stride()),
        momentum,
        1 - momentum,
        eps,
        BLOCK_D=BLOCK_D,
    )
