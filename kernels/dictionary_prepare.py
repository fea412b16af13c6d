"""Codes for the search: one program per code.

With `c` the centre and `d` the code, `operand` is `o = round(d - c)` and the rows of `terms` are
`|d - c|^2 / 2`, `(|d|^2 - |c|^2) / 2`, and bounds of `|d - c - o|` and `|d - c|`. Sums run in
float64: the codes are few, and the search trusts the bounds.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.launch import bound, copy_back, on_device_of, readable
from vlp_fast.kernels.rounding import TYPES, rounded

BLOCK_D = 512
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
