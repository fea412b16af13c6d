"""No kernel spills on any GPU, and the table that says so is of today's sources and compilers."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from cuda_resources import (
    NOT_READ,
    OPERATORS,
    TABLE,
    Compiler,
    compilers,
    rows_of,
    source_of,
)
from sealed_rows import REPAIR, Row, is_of, read_rows, sample

KERNELS = {"assign": 10, "attention": 9, "dictionary": 17}
WIDTHS = (32, 64, 128)
ON_TENSOR_CORES = {f"attention_forward_kernel<{width}>" for width in WIDTHS}
ON_TENSOR_CORES |= {
    f"attention_backward_kernel<By{s} {w}>" for s in ("Queries", "Keys") for w in WIDTHS
}
ON_TENSOR_CORES |= {f"assign_codes_kernel<{kind}>" for kind in ("half", "brain", "single")}

ROWS = read_rows(TABLE)
COMPILERS = {row["compiler"].split()[0]: row["compiler"] for row in ROWS}


def check(rows: Sequence[Row]) -> None:
    """No kernel needs memory for its registers, and all products take tensor cores."""
    assert [row for row in rows if (row["stack"], row["spills"]) != ("0", "0")] == []
    for row in rows:
        if row["tensor_cores"] != NOT_READ:
            assert bool(row["tensor_cores"]) == (row["kernel"] in ON_TENSOR_CORES), row


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("kind", ["nvcc", "nvrtc"])
def test_table_is_of_todays_sources(kind: str, operator: str) -> None:
    rows, source = rows_of(ROWS, COMPILERS[kind], operator), source_of(operator, kind)
    assert rows
    assert [row for row in rows if not is_of(row, source)] == [], REPAIR


def test_table_holds_every_kernel_on_every_gpu_without_spills() -> None:
    check(ROWS)
    archs = {row["arch"] for row in ROWS}
    assert archs >= {"sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"}
    kernels = [{row["kernel"] for row in ROWS if row["arch"] == arch} for arch in archs]
    assert all(found == kernels[0] for found in kernels)
    assert len(kernels[0]) * len(archs) == len(ROWS) == sum(KERNELS.values()) * len(archs)
    assert {row["arch"] for row in ROWS if row["tensor_cores"] == "HMMA"} == {"sm_75", "sm_90"}
    assert {row["arch"] for row in ROWS if row["tensor_cores"] == "wmma.mma.sync"} == {"sm_70"}


def installed(kind: str, folder: Path) -> Compiler:
    """nvcc or NVRTC; the test is skipped where there is none."""
    for compiler in compilers(folder):
        if compiler.version.startswith(f"{kind} "):
            if compiler.version != COMPILERS[kind]:
                told = f"the table is of {COMPILERS[kind]}: registers of {compiler.version} are "
                warnings.warn(told + "not compared", stacklevel=1)
            return compiler
    pytest.skip("no nvcc" if kind == "nvcc" else "no wheel of NVRTC 12: see constraints.txt")


def figures(rows: Sequence[Row]) -> list[Row]:
    """Rows without seals, and without what another machine may not be able to read."""
    return [{k: v for k, v in row.items() if k not in ("seal", "tensor_cores")} for row in rows]


def compile_and_compare(compiler: Compiler, operator: str, archs: Sequence[str]) -> None:
    found = [
        {name: str(value) for name, value in usage._asdict().items()}
        for usage in compiler.compile(operator, archs)
    ]
    assert len(found) == KERNELS[operator] * len(archs)
    check(found)
    table = rows_of(ROWS, compiler.version, operator)
    if table:  # other compilers allocate otherwise
        ours = [row for row in table if row["arch"].removeprefix("sm_") in archs]
        assert figures(found) == figures(ours), REPAIR


@pytest.mark.parametrize("kind", ["nvcc", "nvrtc"])
def test_a_sample_compiles_to_the_table(kind: str, tmp_path: Path) -> None:
    """Of one operator and architecture: others with each change of a source."""
    compiler = installed(kind, tmp_path)
    sources = [source_of(operator, kind) for operator in OPERATORS]
    operator = OPERATORS[sample(len(OPERATORS), kind, "operator", sources)]
    arch = compiler.archs[sample(len(compiler.archs), kind, "architecture", sources)]
    compile_and_compare(compiler, operator, [arch])


@pytest.mark.exhaustive
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("kind", ["nvcc", "nvrtc"])
def test_everything_compiles_to_the_table(kind: str, operator: str, tmp_path: Path) -> None:
    compiler = installed(kind, tmp_path)
    compile_and_compare(compiler, operator, compiler.archs)
