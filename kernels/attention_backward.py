"""Attention over packed sequences, backward: the weights P again from `lse`, tile by tile.

    D_i = dO_i . O_i
    dV = P^T dO
    dS = P * (dO V^T - D)
    dQ = scale dS K
    dK = scale dS^T Q

FlashAttention-2 (Dao, 2023), algorithm 2, with the last products in a program of their own: one
program adds up a tile of dK and dV over queries, another one a tile of dQ over keys. Scores are
computed twice, and nothing is added by atomics: results are the same bits in every run.

Not yet measured: one program for both, which adds to dQ by atomics of float32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from vlp_fast.kernels.attention_grad_keys import grad_keys_kernel
from vlp_fast.kernels.attention_grad_queries import grad_queries_kernel
from vlp_fast.kernels.attention_rows import (
    block_width,
    load_tile,
    operand,
    precision_of,
    programs,
    rows_of,
)
from vlp_fast.kernels.attention_tiling import attention_tiles
from vlp_fast.kernels.dropout import threshold_of
from vlp_fast.kernels.launch import architecture, copy_back, on_device_of, readable

DELTA_ROWS = 64


@triton.jit(do_not_specialize=["num_rows"])
def delta_kernel(
    grad_ptr,
    out_ptr,
    delta_ptr,
    num_rows,
    num_heads,
    stride_gt,
    stride_gn,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """One program per BLOCK rows of a head: delta (N, T), which is sum_j P_ij dP_ij."""
    first = tl.program_id(0).to(tl.int64) * BLOCK
    head = tl.program_id(1)
    grad_rows = rows_of(grad_ptr, stride_gt, stride_gn, 0, head, num_rows)
    out_rows = rows_of(out_ptr, num_heads * WIDTH, WIDTH, 0, head, num_rows)
    grad = load_tile(grad_rows, first, False, WIDTH, BLOCK, BLOCK_E).to(tl.float32)
    out = load_tile(out_rows, first, False, WIDTH, BLOCK, BLOCK_E).to(tl.float32)
    rows = first + tl.arange(0, BLOCK)
    delta = delta_ptr + head.to(tl.int64) * num_rows + rows
    tl.store(delta, tl.sum(grad * out, 1), mask=rows < num_rows)


def attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    order: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: Tensor | None,
    grad_q: Tensor,
    grad_k: Tensor,
    grad_v: Tensor,
) -> None:
    """Write the gradients of q, k and v, which may be parts of one tensor.

    Raises:
        ValueError: E is above 256; there are 2^31 tiles; the device has no Triton.
    """
    rows, heads, width = q.shape
    block = block_width(width)
    tiles = attention_tiles(architecture(q.device), block, q.dtype)
    sequences = len(cu_seqlens_q) - 1
    inputs = [operand(x) for x in (grad, q, k, v)]
    found = [readable(x) for x in (grad_q, grad_k, grad_v)]
    places = [size for x in inputs for size in x.stride()[:2]]
    bounds = (cu_seqlens_q, cu_seqlens_k, order, seed, rows)
    numbers = (scale, threshold_of(dropout_p), 1.0 - dropout_p)
    constants = {"CAUSAL": causal, "PRECISION": precision_of(q.dtype)}
    constants |= {"WIDTH": width, "BLOCK_E": block}
    delta = torch.empty_like(lse)
    with on_device_of("attention_backward", q):
        if delta.numel() > 0:
            _delta(inputs[0], readable(out), delta, block)
        of_longest = triton.cdiv(max_seqlen_k, tiles.of_keys.keys)
        count = programs(of_longest, heads, sequences)
        if count > 0 and len(k) > 0:
            grad_keys_kernel[(count,)](
                *inputs,
                lse,
                delta,
                *found[1:],
                *bounds,
                of_longest,
                heads,
                *places,
                *found[1].stride()[:2],
                *found[2].stride()[:2],
                *numbers,
                **constants,
                **tiles.of_keys.options(),
            )
        of_longest = triton.cdiv(max_seqlen_q, tiles.of_queries.queries)
        count = programs(of_longest, heads, sequences)
        if count > 0 and len(q) > 0:
            grad_queries_kernel[(count,)](
                *inputs,
                lse,
                delta,
                found[0],
                *bounds,
                of_longest,
                heads,
                *places,
                *found[0].stride()[:2],
                *numbers,
                **constants,
                **tiles.of_queries.options(),
            )
    for gradient, written in zip((grad_q, grad_k, grad_v), found, strict=True):
        copy_back(written, gradient)


def _delta(grad: Tensor, out: Tensor, delta: Tensor, block: int) -> None:
    rows, heads, width = grad.shape
    delta_kernel[(triton.cdiv(rows, DELTA_ROWS), heads)](
        grad,
        out,
        delta,
        rows,
        heads,
        *grad.stride()[:2],
        WIDTH=width,
        BLOCK=DELTA_ROWS,
        BLOCK_E=block,
    )
