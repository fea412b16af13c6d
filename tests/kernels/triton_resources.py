"""What Triton makes of the programs on each GPU, without one: registers, spills, shared memory.

`python tests/kernels/triton_resources.py > tests/kernels/triton_resources.csv` writes the table
anew; architectures to compile for may follow. TRITON_INTERPRET must not be set.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from attention_variants import attention_variants
from norm_variants import norm_variants, position_variants
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vlp_fast.kernels import (
    dictionary,
    dictionary_gather,
    dictionary_statistics,
    dictionary_update,
)
from vlp_fast.kernels.tiling import search_tile

TABLE = Path(__file__).with_suffix(".csv")
CUOBJDUMP = Path(nvidia.__file__).parent / "bin/cuobjdump"
ARCHITECTURES = (80, 89, 90, 100, 120)
TENSOR_CORES = ("mma.sync", "wgmma.mma_async", "tcgen05.mma")
TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
# Of arguments; those not named here are int32.
POINTERS = {
    "valid": "i1",
    "indices": "i64",
    "doubtful": "i64",
    "order": "i64",
    "num_doubtful": "i32",
    "labels": "i32",
    "histogram": "i32",
    "non_finite": "i32",
    "ends": "i32",
    "chunk_ends": "i32",
    "total": "fp64",
}
SCALARS = dict.fromkeys(("largest", "kept", "added", "eps", "scale", "kept_share"), "fp32")
# Rows and columns that lie together, and numbers of rows, which are whatever they are.
NOT_DIVISIBLE = {"num_rows", "excluded", "stride_cd", "stride_ad", "stride_s", "num_blocks"}
NOT_DIVISIBLE |= {"chunk", "num_chunks", "table_rows", "threshold"}
NOT_DIVISIBLE |= {"num_tiles", "num_heads", "seed_ptr"}


class Usage(NamedTuple):
    """Of one program; spills are bytes a thread of the stack, shared memory is in bytes."""

    triton: str
    arch: str
    kernel: str
    variant: str
    registers: int
    spills: int
    shared: int
    tensor_cores: str


class Variant(NamedTuple):
    """A program with its types and constants, by name."""

    kernel: Any
    name: str
    types: dict[str, str]
    constants: dict[str, Any]


def variants(arch: int) -> Iterator[Variant]:
    """Every program, in the types of mixed precision, and of float32 rows for the search."""
    for rows, operand in ((torch.bfloat16, torch.bfloat16), (torch.float32, torch.float16)):
        is_centred = rows != operand
        tile = search_tile(arch, operand, is_centred)
        name = "centred" if is_centred else "as they are"
        types = {"x": TYPES[rows], "operand": TYPES[operand]}
        constants = {"CENTRED": is_centred}
        yield Variant(dictionary.assign_kernel, name, types, constants | tile.assign_options())
        yield Variant(dictionary.resolve_kernel, name, types, constants | tile.resolve_options())
    yield gather_variant()
    yield from update_variants()
    yield from statistics_variants()
    for variant in (*norm_variants(), *position_variants(arch), *attention_variants(arch)):
        yield Variant(*variant)


def gather_variant() -> Variant:
    """The program that writes the quantised rows."""
    module = dictionary_gather
    constants = {"ROWS": module.ROWS, "BLOCK_D": module.BLOCK_D, "DTYPE": triton.language.bfloat16}
    return Variant(module.gather_kernel, "", {"out": "bf16"}, constants)


def update_variants() -> Iterator[Variant]:
    """Programs that write codes."""
    module, types = dictionary_update, {"operand": "bf16"}
    constants = {"DTYPE": triton.language.bfloat16, "BLOCK_D": module.BLOCK_D}
    paper = {"averages_ptr": None, "sizes_ptr": None, "total_ptr": None}
    yield Variant(module.prepare_kernel, "", types, constants)
    yield Variant(module.move_kernel, "paper", types, constants | paper)
    yield Variant(module.move_kernel, "official", types, constants)
    yield Variant(module.sizes_kernel, "", {}, {"BLOCK": module.SIZES_BLOCK})


def statistics_variants() -> Iterator[Variant]:
    """Programs of the counting sort, with the constants of the module."""
    module, types = dictionary_statistics, {"x": "bf16"}
    checked = {"CHECK_FINITE": True, "ROWS": module.CHECKED_ROWS, "BLOCK_D": 2 * module.BLOCK_D}
    yield Variant(module.label_kernel, "check_finite", types, checked | {"BLOCK": module.BLOCK})
    unchecked = checked | {"CHECK_FINITE": False, "ROWS": module.BLOCK, "BLOCK": module.BLOCK}
    yield Variant(module.label_kernel, "", types, unchecked)
    ranks = {"BLOCK": module.BLOCK, "RANK_STEP": module.RANK_STEP, "num_warps": 8}
    yield Variant(module.place_kernel, "", {}, ranks)
    plan = {"CHUNK": module.CHUNK, "CODES": module.CODES_BLOCK}
    yield Variant(module.plan_kernel, "", {}, plan)
    tile = {"STEP": module.STEP, "BLOCK_D": module.BLOCK_D}
    yield Variant(module.sum_chunks_kernel, "", types, plan | tile)
    yield Variant(module.add_chunks_kernel, "", {}, {"BLOCK_D": module.BLOCK_D})
    rows = {"ROWS": module.STEP, "BLOCK_D": module.BLOCK_D}
    yield Variant(module.add_rows_kernel, "", types, rows)


def argument_type(name: str, variant: Variant) -> str:
    """As Triton writes it: *bf16, i32, constexpr."""
    if name in variant.constants or name.isupper():
        return "constexpr"
    if name.endswith("_ptr"):
        stem = name.removesuffix("_ptr")
        return "*" + (POINTERS | variant.types).get(stem, "fp32")
    return SCALARS.get(name, "i32")


def compile_for(variant: Variant, arch: int) -> Usage:
    """Compile one program; no GPU takes part."""
    kernel = variant.kernel
    names = kernel.arg_names
    options = {
        name: value
        for name, value in variant.constants.items()
        if name not in names and value is not None
    }
    source = ASTSource(
        kernel,
        {name: argument_type(name, variant) for name in names},
        {name: value for name, value in variant.constants.items() if name in names},
        {
            (place,): [["tt.divisibility", 16]]
            for place, name in enumerate(names)
            if name not in variant.constants | SCALARS and name not in NOT_DIVISIBLE
        },
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    registers, stack = registers_and_stack(compiled.asm["cubin"])
    used = [name for name in TENSOR_CORES if name in compiled.asm["ptx"]]
    return Usage(
        triton.__version__,
        f"sm_{arch}",
        kernel.__name__,
        variant.name,
        registers,
        stack,
        compiled.metadata.shared,
        " ".join(used),
    )


def registers_and_stack(cubin: bytes) -> tuple[int, int]:
    """As the disassembler that comes with Triton reads them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(CUOBJDUMP), "-res-usage", file.name]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", answer)
    assert found is not None, answer
    return int(found[1]), int(found[2]) + int(found[3])


def main(archs: Sequence[int]) -> None:
    """Write the table."""
    sys.stdout.write(",".join(Usage._fields) + "\n")
    for arch in archs:
        for variant in variants(arch):
            sys.stdout.write(",".join(map(str, compile_for(variant, arch))) + "\n")


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or ARCHITECTURES)
