"""Programs of the dictionary, as `triton_resources` compiles them.

(program, name, types of pointers, constants).
"""

from collections.abc import Iterator
from typing import Any

import torch
import triton

from vlp_fast.kernels import (
    dictionary,
    dictionary_gather,
    dictionary_prepare,
    dictionary_statistics,
    dictionary_update,
)
from vlp_fast.kernels.tiling import search_tile

TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}

DictionaryVariant = tuple[Any, str, dict[str, str], dict[str, Any]]


def search_variants(arch: int) -> Iterator[DictionaryVariant]:
    """Programs of the search, of bfloat16 rows and of float32 rows."""
    for rows, operand in ((torch.bfloat16, torch.bfloat16), (torch.float32, torch.float16)):
        is_centred = rows != operand
        tile = search_tile(arch, operand, is_centred)
        name = "centred" if is_centred else "as they are"
        types = {"x": TYPES[rows], "operand": TYPES[operand]}
        constants = {"CENTRED": is_centred}
        yield dictionary.assign_kernel, name, types, constants | tile.assign_options()
        yield dictionary.resolve_kernel, name, types, constants | tile.resolve_options()


def dictionary_variants() -> Iterator[DictionaryVariant]:
    """Programs of everything else that a dictionary does."""
    yield gather_variant()
    yield prepare_variant()
    yield from update_variants()
    yield from statistics_variants()


def gather_variant() -> DictionaryVariant:
    """The program that writes the quantised rows."""
    module = dictionary_gather
    constants = {"ROWS": module.ROWS, "BLOCK_D": module.BLOCK_D, "DTYPE": triton.language.bfloat16}
    return module.gather_kernel, "", {"out": "bf16"}, constants


def prepare_variant() -> DictionaryVariant:
    """The program that rounds codes for the search."""
    module = dictionary_prepare
    constants = {"DTYPE": triton.language.bfloat16, "BLOCK_D": module.BLOCK_D}
    return module.prepare_kernel, "", {"operand": "bf16"}, constants


def update_variants() -> Iterator[DictionaryVariant]:
    """Programs that move codes."""
    module = dictionary_update
    constants = {"BLOCK_D": module.BLOCK_D}
    paper = {"averages_ptr": None, "sizes_ptr": None, "total_ptr": None}
    yield module.move_kernel, "paper", {}, constants | paper
    yield module.move_kernel, "official", {}, constants
    yield module.sizes_kernel, "", {}, {"BLOCK": module.SIZES_BLOCK}


def statistics_variants() -> Iterator[DictionaryVariant]:
    """Programs of the counting sort, with the constants of the module."""
    module, types = dictionary_statistics, {"x": "bf16"}
    checked = {"CHECK_FINITE": True, "ROWS": module.CHECKED_ROWS, "BLOCK_D": 2 * module.BLOCK_D}
    yield module.label_kernel, "check_finite", types, checked | {"BLOCK": module.BLOCK}
    unchecked = checked | {"CHECK_FINITE": False, "ROWS": module.BLOCK, "BLOCK": module.BLOCK}
    yield module.label_kernel, "", types, unchecked
    ranks = {"BLOCK": module.BLOCK, "RANK_STEP": module.RANK_STEP, "num_warps": 8}
    yield module.place_kernel, "", {}, ranks
    plan = {"CHUNK": module.CHUNK, "CODES": module.CODES_BLOCK}
    yield module.plan_kernel, "", {}, plan
    tile = {"STEP": module.STEP, "BLOCK_D": module.BLOCK_D}
    yield module.sum_chunks_kernel, "", types, plan | tile
    yield module.add_chunks_kernel, "", {}, {"BLOCK_D": module.BLOCK_D}
    rows = {"ROWS": module.STEP, "BLOCK_D": module.BLOCK_D}
    yield module.add_rows_kernel, "", types, rows
