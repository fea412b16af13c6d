"""Codes for the search, and the two moving averages, which write them in the pass that moves codes.

One program per code. With `c` the centre and `d` the code, `operand` is `o = round(d - c)` and the
rows of `terms` are `|d - c|^2 / 2`, `(|d|^2 - |c|^2) / 2`, and bounds of `|d - c - o|` and
`|d - c|`. Sums run in float64: the codes are few, and the search trusts the bounds.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.launch import bound, copy_back, on_device_of, readable
from vlp_fast.kernels.rounding import TYPES, rounded

BLOCK_D = 512
SIZES_BLOCK = 1024
# Bounds stay bounds when they are rounded to float32.
UP = tl.constexpr(1.0 + 2.0**-22)

_LARGEST = {dtype: torch.finfo(dtype).max for dtype in TYPES}


@triton.jit
def _write_operand(code, centre_ptr, operand_ptr, at, inside, largest, DTYPE: tl.constexpr):
    """Columns of a code's operand; what they add to its four terms: 2 biases, 2 squared bounds."""
    code = code.to(tl.float64)
    centre = tl.load(centre_ptr + at, mask=inside, other=0.0).to(tl.float64)
    shifted = tl.where(inside, code - centre, 0.0)
    clamped = tl.minimum(tl.maximum(shifted, -largest), largest)
    operand = rounded(clamped.to(tl.float32), DTYPE)
    tl.store(operand_ptr + at, operand, mask=inside)
    lost = shifted - operand.to(tl.float64)
    uncentred = tl.where(inside, code * code - centre * centre, 0.0)
    return shifted * shifted, uncentred, lost * lost


@triton.jit
def _write_terms(terms_ptr, code_index, num_codes, squares, uncentred, lost_squares):
    """The four terms of a code, from sums over its columns."""
    size = tl.sum(squares, 0)
    lost = tl.sqrt(tl.sum(lost_squares, 0)) * UP
    tl.store(terms_ptr + code_index, (size / 2).to(tl.float32))
    tl.store(terms_ptr + num_codes + code_index, (tl.sum(uncentred, 0) / 2).to(tl.float32))
    tl.store(terms_ptr + 2 * num_codes + code_index, lost.to(tl.float32))
    tl.store(terms_ptr + 3 * num_codes + code_index, (tl.sqrt(size) * UP).to(tl.float32))


@triton.jit
def prepare_kernel(
    codes_ptr,
    centre_ptr,
    operand_ptr,
    terms_ptr,
    num_codes,
    width,
    stride_ck,
    stride_cd,
    largest,
    DTYPE: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Operand and terms of codes as they are."""
    code_index = tl.program_id(0).to(tl.int64)
    squares = tl.zeros((BLOCK_D,), tl.float64)
    uncentred = tl.zeros((BLOCK_D,), tl.float64)
    lost_squares = tl.zeros((BLOCK_D,), tl.float64)
    for first in range(0, width, BLOCK_D):
        at = first + tl.arange(0, BLOCK_D)
        inside = at < width
        place = codes_ptr + code_index * stride_ck + at * stride_cd
        code = tl.load(place, mask=inside, other=0.0)
        terms = _write_operand(
            code, centre_ptr, operand_ptr + code_index * width, at, inside, largest, DTYPE
        )
        squares += terms[0]
        uncentred += terms[1]
        lost_squares += terms[2]
    _write_terms(terms_ptr, code_index, num_codes, squares, uncentred, lost_squares)


@triton.jit
def move_kernel(
    codes_ptr,
    averages_ptr,
    sums_ptr,
    counts_ptr,
    sizes_ptr,
    total_ptr,
    centre_ptr,
    operand_ptr,
    terms_ptr,
    num_codes,
    width,
    stride_ck,
    stride_cd,
    stride_ak,
    stride_ad,
    kept,
    added,
    eps,
    largest,
    DTYPE: tl.constexpr,
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
    squares = tl.zeros((BLOCK_D,), tl.float64)
    uncentred = tl.zeros((BLOCK_D,), tl.float64)
    lost_squares = tl.zeros((BLOCK_D,), tl.float64)
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
        code = tl.where(is_moved, moved.to(tl.float32), old)
        tl.store(place, code, mask=inside)
        if operand_ptr is not None:
            terms = _write_operand(
                code, centre_ptr, operand_ptr + code_index * width, at, inside, largest, DTYPE
            )
            squares += terms[0]
            uncentred += terms[1]
            lost_squares += terms[2]
    if operand_ptr is not None:
        _write_terms(terms_ptr, code_index, num_codes, squares, uncentred, lost_squares)


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


def prepare_codes(codes: Tensor, centre: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return operand (K, D) of a dtype and terms (4, K) float32 of codes around a centre (D,)."""
    operand = codes.new_empty(codes.shape, dtype=dtype)
    terms = codes.new_empty((4, codes.shape[0]), dtype=torch.float32)
    written, codes = readable(operand), readable(codes)
    with on_device_of("prepare_codes", codes):
        prepare_kernel[(codes.shape[0],)](
            codes,
            centre.contiguous(),
            written,
            terms,
            codes.shape[0],
            bound(codes.shape[1]),
            *codes.stride(),
            _LARGEST[dtype],
            DTYPE=TYPES[dtype],
            BLOCK_D=BLOCK_D,
        )
    copy_back(written, operand)
    return operand, terms


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
        *(None, None, None),  # centre, operand and terms: the program can write them in its pass
        codes.shape[0],
        bound(codes.shape[1]),
        *codes.stride(),
        *(codes.stride() if averages is None else averages.stride()),
        momentum,
        1 - momentum,
        eps,
        _LARGEST[torch.float32],
        DTYPE=TYPES[torch.float32],
        BLOCK_D=BLOCK_D,
    )
