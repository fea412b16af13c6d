"""What Triton makes of the programs on each GPU, without one: registers, spills, shared memory.

`python tests/kernels/triton_resources.py` writes the table anew, and compiles the programs whose
seals are broken. With --sources it prints what each row's seal is made of instead; with --sample it
compiles one program for each architecture and prints their rows, with --all every one.
TRITON_INTERPRET must not be set.
"""

import csv
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import triton
from attention_variants import attention_variants
from dictionary_variants import dictionary_variants, search_variants
from norm_variants import norm_variants, position_variants
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

sys.path.insert(0, str(Path(__file__).parents[1]))
from sealed_rows import Row, digest, is_of, read_rows, sample, sealed, write_rows

TABLE = Path(__file__).with_suffix(".csv")
CUOBJDUMP = Path(nvidia.__file__).parent / "bin/cuobjdump"
ARCHITECTURES = (80, 89, 90, 100, 120)
TENSOR_CORES = ("mma.sync", "wgmma.mma_async", "tcgen05.mma")
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
    """Every program, in the types of mixed precision and some of float32."""
    dictionary = (*search_variants(arch), *dictionary_variants())
    blocks = (*norm_variants(), *position_variants(arch), *attention_variants(arch))
    for variant in (*dictionary, *blocks):
        yield Variant(*variant)


def argument_type(name: str, variant: Variant) -> str:
    """As Triton writes it: *bf16, i32, constexpr."""
    if name in variant.constants or name.isupper():
        return "constexpr"
    if name.endswith("_ptr"):
        stem = name.removesuffix("_ptr")
        return "*" + (POINTERS | variant.types).get(stem, "fp32")
    return SCALARS.get(name, "i32")


def source_of(variant: Variant) -> tuple[ASTSource, dict[str, Any]]:
    """A program as Triton compiles it, and the options."""
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
    return source, options


def digest_of(variant: Variant, arch: int) -> str:
    """Hash of all that is compiled: the program and what it calls, types, constants, options.

    The first three are the key by which Triton finds what it has compiled.
    """
    source, options = source_of(variant)
    return digest(triton.__version__, arch, source.hash(), sorted(options.items()))


def without_line_numbers() -> None:
    """Make Triton's keys depend on programs, not on the lines they begin at."""
    for name, module in list(sys.modules.items()):
        if name.startswith("vlp_fast.kernels"):
            for function in vars(module).values():
                if hasattr(function, "starting_line_number"):
                    function.starting_line_number = 0


def compile_for(variant: Variant, arch: int) -> Usage:
    """Compile one program; no GPU takes part."""
    source, options = source_of(variant)
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    registers, stack = registers_and_stack(compiled.asm["cubin"])
    used = [name for name in TENSOR_CORES if name in compiled.asm["ptx"]]
    return Usage(
        triton.__version__,
        f"sm_{arch}",
        variant.kernel.__name__,
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


def every_variant() -> Iterator[tuple[Variant, int, str]]:
    """Each program, its architecture, and the hash of both."""
    without_line_numbers()
    for arch in ARCHITECTURES:
        for variant in variants(arch):
            yield variant, arch, digest_of(variant, arch)


def rows_anew() -> Iterator[Row]:
    """The table's rows; compiled where the table has none of today."""
    known = {(row["arch"], row["kernel"], row["variant"]): row for row in read_rows(TABLE)}
    for variant, arch, source in every_variant():
        row = known.get((f"sm_{arch}", variant.kernel.__name__, variant.name), {})
        if not is_of(row, source):
            row = sealed(compile_for(variant, arch)._asdict(), source)
        yield row


def sources() -> Iterator[Mapping[str, object]]:
    """What names each row, and the hash that its seal is made of."""
    for variant, arch, source in every_variant():
        yield {
            "triton": triton.__version__,
            "arch": f"sm_{arch}",
            "kernel": variant.kernel.__name__,
            "variant": variant.name,
            "source": source,
        }


def compiled_sample() -> Iterator[Row]:
    """One row for each architecture, compiled; others with each change of a program."""
    found = list(every_variant())
    everything = [source for _, _, source in found]
    for arch in ARCHITECTURES:
        ours = [(variant, source) for variant, of, source in found if of == arch]
        variant, source = ours[sample(len(ours), arch, everything)]
        yield sealed(compile_for(variant, arch)._asdict(), source)


def every_row() -> Iterator[Row]:
    """Every row, compiled."""
    for variant, arch, source in every_variant():
        yield sealed(compile_for(variant, arch)._asdict(), source)


def main(words: list[str]) -> None:
    """Write the table, or print what is asked for."""
    printed = {"--sources": sources, "--sample": compiled_sample, "--all": every_row}
    if not words:
        write_rows(TABLE, list(rows_anew()))
        return
    rows = list(printed[words[0]]())
    writer = csv.DictWriter(sys.stdout, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
