"""The nearest of K codes to each of N rows: half-precision products, a proof, float64 in doubt.

    argmin_j |x - d_j| = argmax_j s_j

Codes come prepared, scores s_j with a bound e of what rounding did to any score of the row: see
`dictionary_scores`. A row's leader is proved if it leads by more than 2 e. `assign_kernel` writes
the proved indices and lists the other rows; `resolve_kernel` takes their products again, and
compares every code within 2 e of the leader by its squared distance in float64, from rows and codes
as they were given.

A NaN or an infinity in a bound proves nothing and leaves every code in doubt: comparisons are
written so. Equal distances go to the lowest index. N is a run-time number: one compilation serves
all batches. Nothing waits for the device.

Not yet measured: an `assign_kernel` that reads a row tile once, instead of once per tile of codes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.dictionary_prepare import prepare_codes
from vlp_fast.kernels.dictionary_scores import row_norms, score_error, scores_of
from vlp_fast.kernels.launch import (
    architecture,
    bound,
    on_device_of,
    persistent_programs,
    readable,
    with_neighbouring_columns,
)
from vlp_fast.kernels.tiling import search_tile

NO_CODE = tl.constexpr(2**31 - 1)


@triton.jit(do_not_specialize=["num_rows", "excluded"])
def assign_kernel(
    x_ptr,
    valid_ptr,
    operand_ptr,
    terms_ptr,
    centre_ptr,
    maxima_ptr,
    indices_ptr,
    doubtful_ptr,
    thresholds_ptr,
    num_doubtful_ptr,
    num_rows,
    num_codes,
    width,
    stride_xn,
    excluded,
    CENTRED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program per BLOCK_N rows, over all codes: proved indices, and a list of the others."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    in_batch = rows < num_rows
    x_rows = x_ptr + tl.minimum(rows, num_rows - 1) * stride_xn
    best = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    second = tl.full((BLOCK_N,), float("-inf"), tl.float32)
    index = tl.zeros((BLOCK_N,), tl.int32)
    columns = tl.arange(0, BLOCK_K)
    for first in range(0, num_codes, BLOCK_K):
        scores = scores_of(
            x_rows,
            centre_ptr,
            operand_ptr,
            terms_ptr,
            first + columns,
            num_codes,
            width,
            CENTRED,
            BLOCK_N,
            BLOCK_K,
            BLOCK_D,
        )
        top = tl.max(scores, 1)
        # Of equal leaders any will do: the other is the second, and nothing is proved.
        leader = tl.max(tl.where(scores == top[:, None], columns[None, :], 0), 1)
        is_leader = columns[None, :] == leader[:, None]
        rest = tl.max(tl.where(is_leader, float("-inf"), scores), 1)
        second = tl.maximum(tl.maximum(second, rest), tl.minimum(best, top))
        index = tl.where(top > best, first + leader, index)
        best = tl.maximum(best, top)

    norm, lost_norm, counts = row_norms(
        x_rows, centre_ptr, width, operand_ptr.dtype.element_ty, CENTRED, BLOCK_N, BLOCK_D
    )
    if valid_ptr is not None:
        counts = counts & (tl.load(valid_ptr + rows, mask=in_batch, other=0) != 0)
    error = score_error(norm, lost_norm, best, maxima_ptr, width, CENTRED)
    is_proved = best - second > 2.0 * error
    found = tl.where(counts, index.to(tl.int64), excluded.to(tl.int64))
    tl.store(indices_ptr + rows, found, mask=in_batch & (is_proved | (counts == 0)))

    is_doubtful = (in_batch & counts & (is_proved == 0)).to(tl.int32)
    place = tl.atomic_add(num_doubtful_ptr, tl.sum(is_doubtful, 0), sem="relaxed")
    place += tl.cumsum(is_doubtful, 0) - 1
    tl.store(doubtful_ptr + place, rows, mask=is_doubtful != 0)
    tl.store(thresholds_ptr + place, best - 2.0 * error, mask=is_doubtful != 0)


@triton.jit
def _squared_distance(
    x_rows, code_rows, width, is_wanted, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr
):
    """|x - d|^2 in float64 of one code for each row that wants it."""
    columns = tl.arange(0, BLOCK_D)
    total = tl.zeros((BLOCK_N,), tl.float64)
    for first in range(0, width, BLOCK_D):
        at = first + columns
        mask = is_wanted[:, None] & (at < width)[None, :]
        x = tl.load(x_rows[:, None] + at[None, :], mask=mask, other=0.0).to(tl.float64)
        code = tl.load(code_rows[:, None] + at[None, :], mask=mask, other=0.0).to(tl.float64)
        total += tl.sum((x - code) * (x - code), 1)
    return total


@triton.jit
def resolve_kernel(
    x_ptr,
    codes_ptr,
    operand_ptr,
    terms_ptr,
    centre_ptr,
    doubtful_ptr,
    thresholds_ptr,
    num_doubtful_ptr,
    indices_ptr,
    num_codes,
    width,
    stride_xn,
    stride_ck,
    CENTRED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_EXACT: tl.constexpr,
):
    """Persistent programs share out the rows in doubt: float64 decides among the codes in doubt."""
    num_doubtful = tl.load(num_doubtful_ptr)
    columns = tl.arange(0, BLOCK_K)
    first_entry = tl.program_id(0) * BLOCK_N
    while first_entry < num_doubtful:
        entries = first_entry + tl.arange(0, BLOCK_N)
        is_entry = entries < num_doubtful
        rows = tl.load(doubtful_ptr + entries, mask=is_entry, other=0)
        threshold = tl.load(thresholds_ptr + entries, mask=is_entry, other=0.0)
        x_rows = x_ptr + rows * stride_xn
        nearest = tl.full((BLOCK_N,), float("inf"), tl.float64)
        index = tl.zeros((BLOCK_N,), tl.int32)
        for first in range(0, num_codes, BLOCK_K):
            codes = first + columns
            scores = scores_of(
                x_rows,
                centre_ptr,
                operand_ptr,
                terms_ptr,
                codes,
                num_codes,
                width,
                CENTRED,
                BLOCK_N,
                BLOCK_K,
                BLOCK_D,
            )
            # True for NaN on either side.
            in_doubt = (scores < threshold[:, None]) == 0
            in_doubt = in_doubt & is_entry[:, None] & (codes < num_codes)[None, :]
            candidate = tl.min(tl.where(in_doubt, codes[None, :], NO_CODE), 1)
            while tl.min(candidate, 0) < NO_CODE:
                is_wanted = candidate < NO_CODE
                code_rows = codes_ptr + candidate.to(tl.int64) * stride_ck
                distance = _squared_distance(
                    x_rows, code_rows, width, is_wanted, BLOCK_N, BLOCK_EXACT
                )
                is_nearer = is_wanted & (distance < nearest)
                index = tl.where(is_nearer, candidate, index)
                nearest = tl.where(is_nearer, distance, nearest)
                later = in_doubt & (codes[None, :] > candidate[:, None])
                candidate = tl.min(tl.where(later, codes[None, :], NO_CODE), 1)
        tl.store(indices_ptr + rows, index.to(tl.int64), mask=is_entry)
        first_entry += tl.num_programs(0) * BLOCK_N


def nearest_code(x: Tensor, codes: Tensor, valid: Tensor | None, excluded: int) -> Tensor:
    """Prepare codes for the rows' dtype, and search them for the nearest one to each row.

    Args:
        x: (N, D) float32, bfloat16 or float16.
        codes: (K, D) of these dtypes.
        valid: (N,) bool, or `None`.
        excluded: index of rows that are not valid or not finite.
    """
    centre = codes.mean(0, dtype=torch.float32)
    dtype = torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float16
    return search(x, codes, valid, excluded, *prepare_codes(codes, centre, dtype), centre)


def search(
    x: Tensor,
    codes: Tensor,
    valid: Tensor | None,
    excluded: int,
    operand: Tensor,
    terms: Tensor,
    centre: Tensor,
) -> Tensor:
    """The same among codes that are prepared, around any centre (D,) and in any dtype."""
    is_centred = x.dtype != operand.dtype
    operand, terms, centre = (readable(part).contiguous() for part in (operand, terms, centre))
    # Rows are read in each tile of codes again.
    x, codes = (with_neighbouring_columns(readable(matrix)) for matrix in (x, codes))
    rows, width, num_codes = *x.shape, codes.shape[0]
    indices = x.new_empty(rows, dtype=torch.int64)
    if rows == 0:
        return indices
    maxima = torch.linalg.vector_norm(terms, torch.inf, dim=1)
    num_doubtful = indices.new_zeros(1, dtype=torch.int32)
    doubtful, thresholds = torch.empty_like(indices), terms.new_empty(rows)
    tile = search_tile(architecture(x.device), operand.dtype, is_centred)
    with on_device_of("nearest_code", x):
        assign_kernel[(triton.cdiv(rows, tile.rows),)](
            x,
            None if valid is None else valid.contiguous(),
            operand,
            terms,
            centre,
            maxima,
            indices,
            doubtful,
            thresholds,
            num_doubtful,
            rows,
            bound(num_codes),
            bound(width),
            x.stride(0),
            excluded,
            CENTRED=is_centred,
            **tile.assign_options(),
        )
        resolve_kernel[(persistent_programs(x.device),)](
            x,
            codes,
            operand,
            terms,
            centre,
            doubtful,
            thresholds,
            num_doubtful,
            indices,
            bound(num_codes),
            bound(width),
            x.stride(0),
            codes.stride(0),
            CENTRED=is_centred,
            **tile.resolve_options(),
        )
    return indices
