"""Programs of attention, as `triton_resources` compiles them.

(program, name, types of pointers, constants); head widths are those of E2E-VLP and SOHO, and twice
as wide.
"""

from collections.abc import Iterator
from typing import Any

import torch

from vlp_fast.kernels import attention, attention_backward
from vlp_fast.kernels.attention_tiling import attention_tiles

OPERANDS = ("q", "k", "v", "out", "grad", "grad_q", "grad_k", "grad_v")
BOUNDS = {"cu_seqlens_q": "i32", "cu_seqlens_k": "i32", "order": "i32", "seed": "i64"}
# Head width, whether causal, whether with dropout.
CHOICES = ((32, False, True), (64, False, False), (64, True, True), (128, True, True))

AttentionVariant = tuple[Any, str, dict[str, str], dict[str, Any]]


def attention_variants(arch: int) -> Iterator[AttentionVariant]:
    """Of bfloat16, and once of float32, whose products take whole numbers."""
    for width, causal, dropout in CHOICES:
        yield from programs(arch, torch.bfloat16, width, causal=causal, dropout=dropout)
    yield from programs(arch, torch.float32, 64, causal=True, dropout=True)


def programs(
    arch: int, dtype: torch.dtype, width: int, *, causal: bool, dropout: bool
) -> Iterator[AttentionVariant]:
    """The four of one forward and backward pass."""
    short = "bf16" if dtype == torch.bfloat16 else "fp32"
    words = [short if short == "bf16" else "fp32 ieee", str(width)]
    words += ["causal"] * causal + ["dropout"] * dropout
    types = dict.fromkeys(OPERANDS, short) | BOUNDS
    tiles = attention_tiles(arch, width, dtype)
    constants = {"CAUSAL": causal, "PRECISION": "ieee", "WIDTH": width, "BLOCK_E": width}
    constants |= {} if dropout else {"seed_ptr": None}
    for kernel, tile in (
        (attention.attention_kernel, tiles.forward),
        (attention_backward.grad_keys_kernel, tiles.of_keys),
        (attention_backward.grad_queries_kernel, tiles.of_queries),
    ):
        yield kernel, " ".join(words), types, constants | tile.options()
    if not (causal or dropout):
        rows = {"WIDTH": width, "BLOCK_E": width, "BLOCK": attention_backward.DELTA_ROWS}
        yield attention_backward.delta_kernel, " ".join(words), types, rows
