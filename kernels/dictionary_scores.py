"""Scores of rows and codes from half-precision products, and how far they may be from the truth.

    s_j = h.o_j - bias_j

o_j is the code d_j minus a centre c, rounded. Rows whose dtype is that of o are h as they are,
exactly, with bias (|d|^2 - |c|^2) / 2; others are centred and rounded in registers, with bias
|d - c|^2 / 2. Either way argmax_j s_j = argmin_j |x - d_j| but for rounding.
"""

import triton
import triton.language as tl

# Relative error of one accumulation: tensor cores truncate where float32 would round.
ACCUMULATION = tl.constexpr(2.0**-22)
ROUNDING = tl.constexpr(2.0**-22)  # of a few float32 operations
# Norms from float32 squares: those below 2^-126 vanish. Products may vanish below 2^-126 as well.
LOST_NORM = tl.constexpr(2.0**-60)
LOST_PRODUCT = tl.constexpr(2.0**-120)
LARGEST = tl.constexpr(2.0**120)  # partial sums of products beyond it could overflow


@triton.jit
def _row_operand(x_rows, centre_ptr, columns, width, dtype: tl.constexpr, CENTRED: tl.constexpr):
    """Columns of the rows as given, and as products take them; zero beyond the width."""
    inside = columns < width
    x = tl.load(x_rows[:, None] + columns[None, :], mask=inside[None, :], other=0.0)
    h = x
    if CENTRED:
        x = x.to(tl.float32)
        centre = tl.load(centre_ptr + columns, mask=inside, other=0.0)
        h = (x - centre[None, :]).to(dtype)
    return x, h


@triton.jit
def _products(
    x_rows,
    centre_ptr,
    operand_ptr,
    codes,
    width,
    CENTRED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Products of a tile of rows with a tile of codes, accumulated in float32."""
    columns = tl.arange(0, BLOCK_D)
    operand_rows = operand_ptr + codes.to(tl.int64) * width
    products = tl.zeros((BLOCK_N, BLOCK_K), tl.float32)
    for first in range(0, width, BLOCK_D):
        at = first + columns
        _, h = _row_operand(x_rows, centre_ptr, at, width, operand_ptr.dtype.element_ty, CENTRED)
        o = tl.load(operand_rows[None, :] + at[:, None], mask=(at < width)[:, None], other=0.0)
        products = tl.dot(h, o, products, input_precision="ieee")
    return products


@triton.jit
def row_norms(
    x_rows,
    centre_ptr,
    width,
    dtype: tl.constexpr,
    CENTRED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Bounds of |h| and of |x - c - h|, and whether a row is finite."""
    columns = tl.arange(0, BLOCK_D)
    squares = tl.zeros((BLOCK_N,), tl.float32)
    lost_squares = tl.zeros((BLOCK_N,), tl.float32)
    bad = tl.zeros((BLOCK_N,), tl.int32)
    for first in range(0, width, BLOCK_D):
        at = first + columns
        x, h = _row_operand(x_rows, centre_ptr, at, width, dtype, CENTRED)
        h = h.to(tl.float32)
        squares += tl.sum(h * h, 1)
        is_finite = tl.abs(x.to(tl.float32)) < float("inf")
        bad += tl.sum(tl.where(is_finite, 0, 1), 1)
        if CENTRED:
            centre = tl.load(centre_ptr + at, mask=at < width, other=0.0)
            lost = x - centre[None, :] - h
            lost_squares += tl.sum(lost * lost, 1)
    # The sums are rounded once for each of their terms, at most; roots are approximate.
    up = 1.0 + (width + 8) * ROUNDING
    slack = width * LOST_NORM
    norm = tl.sqrt(squares) * up + slack
    lost_norm = tl.zeros((BLOCK_N,), tl.float32)
    if CENTRED:  # x - c was rounded before h was
        lost_norm = tl.sqrt(lost_squares) * up + slack
        lost_norm += ROUNDING * (norm + lost_norm)
    return norm, lost_norm, bad == 0


@triton.jit
def score_error(norm, lost_norm, best, maxima_ptr, width, CENTRED: tl.constexpr):
    """How far a computed score of a row may be from the true one; NaN or infinity: any distance.

    `maxima_ptr` holds the maxima over the codes of the rows of `terms`, absolute.
    """
    bias = tl.load(maxima_ptr + (0 if CENTRED else 1))
    lost_code = tl.load(maxima_ptr + 2)
    code = tl.load(maxima_ptr + 3)
    operand = code + lost_code
    error = lost_norm * code + norm * lost_code  # of h and of o
    error += width * ACCUMULATION * norm * operand
    error += ROUNDING * (bias + tl.abs(best))
    error += width * LOST_PRODUCT * (1.0 + norm + operand)
    overflows = tl.maximum(norm * operand, bias) > LARGEST
    return tl.where(overflows, float("inf"), error * (1.0 + 2.0**-10))


@triton.jit
def scores_of(
    x_rows,
    centre_ptr,
    operand_ptr,
    terms_ptr,
    codes,
    num_codes,
    width,
    CENTRED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Scores of a tile of rows and codes; minus infinity beyond the last code."""
    last = tl.minimum(codes, num_codes - 1)
    products = _products(
        x_rows, centre_ptr, operand_ptr, last, width, CENTRED, BLOCK_N, BLOCK_K, BLOCK_D
    )
    biases = terms_ptr + (0 if CENTRED else num_codes)
    bias = tl.load(biases + codes, mask=codes < num_codes, other=float("inf"))
    return products - bias[None, :]
