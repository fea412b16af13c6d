"""Attention over packed sequences, forward: one program per tile of queries, softmax as it goes.

    m' = max(m, max_j s_j),  l' = l 2^(m - m') + sum_j 2^(s_j - m'),  o' = o 2^(m - m') + P' V

FlashAttention-2 (Dao, 2023), algorithm 1, with scores s in units of ln 2. Keys come in tiles; all
but the last ones, which end the sequence or cross the diagonal, need no mask. Lengths are run-time
numbers: one compilation serves all batches. Nothing waits for the device.

Not yet measured: TMA descriptors and warp specialisation instead of the pipelined loop.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.attention_rows import (
    LN_2,
    LOG2_E,
    block_width,
    bounds_of,
    keys_seen,
    load_tile,
    operand,
    precision_of,
    programs,
    row_states,
    rows_of,
    store_tile,
    until,
    work_of,
)
from vlp_fast.kernels.attention_tiling import attention_tiles
from vlp_fast.kernels.dropout import is_kept, threshold_of
from vlp_fast.kernels.launch import architecture, copy_back, on_device_of, readable

# Below any score: weights of scores of -inf are zeros then, and no difference is NaN.
LOWEST = tl.constexpr(-3.4028234663852886e38)


@triton.jit(
    do_not_specialize=["num_rows", "num_tiles", "threshold"],
    do_not_specialize_on_alignment=["seed_ptr"],
)
def attention_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    lse_ptr,
    cu_seqlens_q_ptr,
    cu_seqlens_k_ptr,
    order_ptr,
    seed_ptr,
    num_rows,
    num_tiles,
    num_heads,
    stride_qt,
    stride_qn,
    stride_kt,
    stride_kn,
    stride_vt,
    stride_vn,
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
    """One program per BLOCK_M queries of a head: their rows of `out`, and of `lse` (N, Tq)."""
    tile, head, sequence = work_of(num_tiles, num_heads, order_ptr)
    query_start, num_queries = bounds_of(cu_seqlens_q_ptr, sequence)
    key_start, num_keys = bounds_of(cu_seqlens_k_ptr, sequence)
    if CAUSAL:  # the last tile sees the most keys, and begins first
        tile = tl.cdiv(num_queries, BLOCK_M) - 1 - tile
    first_query = tile * BLOCK_M
    if (tile < 0) | (first_query >= num_queries):
        return
    rows = first_query + tl.arange(0, BLOCK_M)
    q_rows = rows_of(q_ptr, stride_qt, stride_qn, query_start, head, num_queries)
    k_rows = rows_of(k_ptr, stride_kt, stride_kn, key_start, head, num_keys)
    v_rows = rows_of(v_ptr, stride_vt, stride_vn, key_start, head, num_keys)
    q = load_tile(q_rows, first_query, False, WIDTH, BLOCK_M, BLOCK_E)
    # Of scores as products give them, the largest stays the largest under a positive factor.
    q = tl.where(scale < 0, -q, q)
    scale = tl.abs(scale) * LOG2_E
    if seed_ptr is not None:
        states = row_states(seed_ptr, sequence, head, rows)

    ends, whole, end = keys_seen(first_query, num_queries, num_keys, CAUSAL, BLOCK_M)
    whole = whole // BLOCK_N * BLOCK_N
    parts = ((0, whole), (whole, end))
    largest = tl.full((BLOCK_M,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    out = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)
    for PART in tl.static_range(2):  # tiles that every query sees, then those that need a mask
        for first in range(until(parts[PART][0]), until(parts[PART][1]), BLOCK_N):
            keys = first + tl.arange(0, BLOCK_N)
            k = load_tile(k_rows, first, PART == 0, WIDTH, BLOCK_N, BLOCK_E)
            v = load_tile(v_rows, first, PART == 0, WIDTH, BLOCK_N, BLOCK_E)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION)
            if PART == 0:
                higher = tl.maximum(largest, tl.max(scores, 1) * scale)
                weights = tl.exp2(scores * scale - higher[:, None])
            else:
                scores = tl.where(keys[None, :] < ends[:, None], scores * scale, float("-inf"))
                higher = tl.maximum(largest, tl.max(scores, 1))
                weights = tl.exp2(scores - higher[:, None])
            shrink = tl.exp2(largest - higher)
            total = total * shrink + tl.sum(weights, 1)
            if seed_ptr is not None:
                is_used = is_kept(states[:, None], keys[None, :], threshold)
                weights = tl.where(is_used, weights, 0.0)
            out = tl.dot(weights.to(v.dtype), v, out * shrink[:, None], input_precision=PRECISION)
            largest = higher
    # A row that sees no key has no weights; NaN stays.
    divisor = tl.where(total == 0, 1.0, total)
    out = out / (divisor * kept_share)[:, None]
    out_rows = rows_of(out_ptr, num_heads * WIDTH, WIDTH, query_start, head, num_queries)
    store_tile(out_rows, first_query, out, WIDTH, BLOCK_M, BLOCK_E)
    lse = tl.where(total > 0, (largest + tl.log2(divisor)) * LN_2, float("inf"))
    lse_rows = lse_ptr + head.to(tl.int64) * num_rows + query_start
    tl.store(lse_rows + rows, lse, mask=rows < num_queries)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Output (Tq, N, E), and log-sum-exp of each row (N, Tq), +inf where it sees no key.

    Raises:
        ValueError: E is above 256; there are 2^31 tiles; the device has no Triton.
    """
    rows, heads, width = q.shape
    block = block_width(width)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    lse = q.new_empty((heads, rows), dtype=torch.float32)
    tile = attention_tiles(architecture(q.device), block, q.dtype).forward
    tiles = triton.cdiv(max_seqlen_q, tile.queries)
    count = programs(tiles, heads, len(cu_seqlens_q) - 1)
    if count == 0 or out.numel() == 0:
        return out, lse.fill_(torch.inf)
    inputs = [operand(x) for x in (q, k, v)]
    written = readable(out)
    with on_device_of("attention", q):
        attention_kernel[(count,)](
            *inputs,
            written,
            lse,
            cu_seqlens_q,
            cu_seqlens_k,
            order,
            seed,
            rows,
            tiles,
            heads,
            *(size for x in inputs for size in x.stride()[:2]),
            scale,
            threshold_of(dropout_p),
            1.0 - dropout_p,
            CAUSAL=causal,
            PRECISION=precision_of(q.dtype),
            WIDTH=width,
            BLOCK_E=block,
            **tile.options(),
        )
    copy_back(written, out)
    return out, lse
