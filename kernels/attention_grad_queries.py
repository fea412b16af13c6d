"""Gradients of queries: one program per tile of queries, over all keys that it sees.

    P = exp(scale Q K^T - lse),  dQ = scale (P * (dO V^T - delta)) K

The scores are those of `attention_grad_keys` once more: that is the price of results which are the
same bits in every run.
"""

import triton
import triton.language as tl

from vlp_fast.kernels.attention_rows import (
    LOG2_E,
    bounds_of,
    keys_seen,
    load_tile,
    row_states,
    rows_of,
    store_tile,
    until,
    work_of,
)
from vlp_fast.kernels.dropout import is_kept


@triton.jit(
    do_not_specialize=["num_rows", "num_tiles", "threshold"],
    do_not_specialize_on_alignment=["seed_ptr"],
)
def grad_queries_kernel(
    grad_ptr,
    q_ptr,
    k_ptr,
    v_ptr,
    lse_ptr,
    delta_ptr,
    grad_q_ptr,
    cu_seqlens_q_ptr,
    cu_seqlens_k_ptr,
    order_ptr,
    seed_ptr,
    num_rows,
    num_tiles,
    num_heads,
    stride_gt,
    stride_gn,
    stride_qt,
    stride_qn,
    stride_kt,
    stride_kn,
    stride_vt,
    stride_vn,
    stride_gqt,
    stride_gqn,
    scale,
    threshold,
    kept_share,
    CAUSAL: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """One program per BLOCK_M queries of a head: their rows of dQ, over all keys."""
    tile, head, sequence = work_of(num_tiles, num_heads, order_ptr)
    query_start, num_queries = bounds_of(cu_seqlens_q_ptr, sequence)
    key_start, num_keys = bounds_of(cu_seqlens_k_ptr, sequence)
    if CAUSAL:  # the last tile sees the most keys, and begins first
        tile = tl.cdiv(num_queries, BLOCK_M) - 1 - tile
    first_query = tile * BLOCK_M
    if (tile < 0) | (first_query >= num_queries):
        return
    rows = first_query + tl.arange(0, BLOCK_M)
    grad_rows = rows_of(grad_ptr, stride_gt, stride_gn, query_start, head, num_queries)
    q_rows = rows_of(q_ptr, stride_qt, stride_qn, query_start, head, num_queries)
    k_rows = rows_of(k_ptr, stride_kt, stride_kn, key_start, head, num_keys)
    v_rows = rows_of(v_ptr, stride_vt, stride_vn, key_start, head, num_keys)
    of_row = head.to(tl.int64) * num_rows + query_start + rows
    is_row = rows < num_queries
    q = load_tile(q_rows, first_query, False, WIDTH, BLOCK_M, BLOCK_E)
    grad = load_tile(grad_rows, first_query, False, WIDTH, BLOCK_M, BLOCK_E)
    lse = tl.load(lse_ptr + of_row, mask=is_row, other=float("inf")) * LOG2_E
    delta = tl.load(delta_ptr + of_row, mask=is_row, other=0.0)
    if seed_ptr is not None:
        states = row_states(seed_ptr, sequence, head, rows)

    ends, whole, end = keys_seen(first_query, num_queries, num_keys, CAUSAL, BLOCK_M)
    whole = whole // BLOCK_N * BLOCK_N
    parts = ((0, whole), (whole, end))
    grad_q = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)
    for PART in tl.static_range(2):  # tiles that every query sees, then those that need a mask
        for first in range(until(parts[PART][0]), until(parts[PART][1]), BLOCK_N):
            keys = first + tl.arange(0, BLOCK_N)
            k = load_tile(k_rows, first, PART == 0, WIDTH, BLOCK_N, BLOCK_E)
            v = load_tile(v_rows, first, PART == 0, WIDTH, BLOCK_N, BLOCK_E)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            weights = tl.exp2(scores * (scale * LOG2_E) - lse[:, None])
            grad_weights = tl.dot(grad, tl.trans(v), input_precision=PRECISION)
            if seed_ptr is not None:
                is_used = is_kept(states[:, None], keys[None, :], threshold)
                grad_weights = tl.where(is_used, grad_weights * (1.0 / kept_share), 0.0)
            grad_scores = weights * (grad_weights - delta[:, None])
            if PART > 0:
                grad_scores = tl.where(keys[None, :] < ends[:, None], grad_scores, 0.0)
            grad_q = tl.dot(grad_scores.to(k.dtype), k, grad_q, input_precision=PRECISION)
    to_q = rows_of(grad_q_ptr, stride_gqt, stride_gqn, query_start, head, num_queries)
    store_tile(to_q, first_query, grad_q * scale, WIDTH, BLOCK_M, BLOCK_E)
