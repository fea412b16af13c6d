"""Programs of residual norms and of linear layers with positions, as `triton_resources` compiles.

(program, name, types of pointers, constants); widths are those of SOHO, and the widest.
"""

from collections.abc import Iterator
from typing import Any

import torch
import triton

from vlp_fast.kernels import norm, norm_backward, positions
from vlp_fast.kernels.tiling import norm_tile, product_tile

WITHOUT_DROPOUT = {"seed_ptr": None}


def norm_variants() -> Iterator[tuple[Any, str, dict[str, str], dict[str, Any]]]:
    """A float32 stream and bfloat16 blocks, as under autocast."""
    types = {"x": "bf16", "grad_x": "bf16", "seed": "i64"}
    for width in (256, 768, 8192):
        tile = norm_tile("norm_variants", width)
        options = {"ROWS": tile.rows, "BLOCK_D": tile.columns, "num_warps": tile.warps}
        forward = options | {"DTYPE": triton.language.float32}
        for name, constants in ((f"{width} dropout", {}), (str(width), WITHOUT_DROPOUT)):
            yield norm.residual_norm_kernel, name, types, forward | constants
            kernel = norm_backward.residual_norm_backward_kernel
            yield kernel, name, types, options | constants
    sums = {"STEP": norm_backward.STEP, "BLOCK_D": norm_backward.BLOCK_SUMS}
    yield norm_backward.add_norm_chunks_kernel, "", {}, sums


def position_variants(arch: int) -> Iterator[tuple[Any, str, dict[str, str], dict[str, Any]]]:
    """Of bfloat16, and of float32 in both precisions; rows and columns of a grid."""
    kernel, names = positions.linear_with_positions_kernel, ("x", "weight", "bias", "table", "out")
    for dtype, short, precision in (
        (torch.bfloat16, "bf16", "ieee"),
        (torch.float32, "fp32", "tf32"),
        (torch.float32, "fp32", "ieee"),
    ):
        types = dict.fromkeys(names, short) | {"indices": "i32"}
        constants = {"POSITIONS": 2, "PRECISION": precision}
        options = product_tile(arch, dtype).options()
        yield kernel, f"{short} {precision}", types, constants | options
