"""Gradients of keys and values: one program per tile of keys, over all queries that see it.

    P = exp(scale Q K^T - lse),  dV = P^T dO,  dK = scale (P * (dO V^T - delta))^T Q

Tiles are queries x keys, as in the other programs: keys 2j and 2j + 1, which share a hash of the
dropout, lie in one thread then, and 64 weights take 40 hashes. Tiles of keys x queries, which need
no transposition on chip, take 100. Nothing is added by atomics: results are the same bits in every
run.
"""

import triton
import triton.language as tl

from vlp_fast.kernels.attention_rows import (
    LOG2_E,
    bounds_of,
    load_tile,
    queries_seeing,
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
def grad_keys_kernel(
    grad_ptr,
    q_ptr,
    k_ptr,
    v_ptr,
    lse_ptr,
    delta_ptr,
    grad_k_ptr,
    grad_v_ptr,
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
    stride_gkt,
    stride_gkn,
    stride_gvt,
    stride_gvn,
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
    """One program per BLOCK_N keys of a head: their rows of dK and dV, over all queries."""
    tile, head, sequence = work_of(num_tiles, num_heads, order_ptr)
    query_start, num_queries = bounds_of(cu_seqlens_q_ptr, sequence)
    key_start, num_keys = bounds_of(cu_seqlens_k_ptr, sequence)
    first_key = tile * BLOCK_N
    if first_key >= num_keys:
        return
    keys = first_key + tl.arange(0, BLOCK_N)
    grad_rows = rows_of(grad_ptr, stride_gt, stride_gn, query_start, head, num_queries)
    q_rows = rows_of(q_ptr, stride_qt, stride_qn, query_start, head, num_queries)
    k_rows = rows_of(k_ptr, stride_kt, stride_kn, key_start, head, num_keys)
    v_rows = rows_of(v_ptr, stride_vt, stride_vn, key_start, head, num_keys)
    of_row = head.to(tl.int64) * num_rows + query_start
    k = load_tile(k_rows, first_key, False, WIDTH, BLOCK_N, BLOCK_E)
    v = load_tile(v_rows, first_key, False, WIDTH, BLOCK_N, BLOCK_E)
    hidden = num_queries - num_keys
    parts = queries_seeing(first_key, num_queries, num_keys, CAUSAL, BLOCK_M, BLOCK_N)
    grad_k = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)
    grad_v = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)
    for PART in tl.static_range(3 if CAUSAL else 2):  # part 0 needs no mask
        for first in range(until(parts[PART][0]), until(parts[PART][1]), BLOCK_M):
            rows = first + tl.arange(0, BLOCK_M)
            is_row = rows < num_queries
            q = load_tile(q_rows, first, PART == 0, WIDTH, BLOCK_M, BLOCK_E)
            grad = load_tile(grad_rows, first, PART == 0, WIDTH, BLOCK_M, BLOCK_E)
            if PART == 0:
                lse = tl.load(lse_ptr + of_row + rows) * LOG2_E
                delta = tl.load(delta_ptr + of_row + rows)
            else:
                lse = tl.load(lse_ptr + of_row + rows, mask=is_row, other=float("inf")) * LOG2_E
                delta = tl.load(delta_ptr + of_row + rows, mask=is_row, other=0.0)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            weights = tl.exp2(scores * (scale * LOG2_E) - lse[:, None])
            grad_weights = tl.dot(grad, tl.trans(v), input_precision=PRECISION)
            used = weights
            if seed_ptr is not None:
                states = row_states(seed_ptr, sequence, head, rows)
                is_used = is_kept(states[:, None], keys[None, :], threshold)
                used = tl.where(is_used, weights, 0.0)
                grad_weights = tl.where(is_used, grad_weights * (1.0 / kept_share), 0.0)
            grad_scores = weights * (grad_weights - delta[:, None])
            if PART > 0:
                sees = is_row[:, None]
                if CAUSAL:
                    sees = sees & (keys[None, :] + hidden <= rows[:, None])
                used = tl.where(sees, used, 0.0)
                grad_scores = tl.where(sees, grad_scores, 0.0)
            used = tl.trans(used.to(grad.dtype))
            grad_v = tl.dot(used, grad, grad_v, input_precision=PRECISION)
            grad_scores = tl.trans(grad_scores.to(q.dtype))
            grad_k = tl.dot(grad_scores, q, grad_k, input_precision=PRECISION)
    to_k = rows_of(grad_k_ptr, stride_gkt, stride_gkn, key_start, head, num_keys)
    to_v = rows_of(grad_v_ptr, stride_gvt, stride_gvn, key_start, head, num_keys)
    store_tile(to_k, first_key, grad_k * scale, WIDTH, BLOCK_N, BLOCK_E)
    store_tile(to_v, first_key, grad_v * (1.0 / kept_share), WIDTH, BLOCK_N, BLOCK_E)
