"""No kernel spills on any GPU, and its registers are those of the table."""

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cuda_resources import (
    TABLE,
    Usage,
    compile_with_nvcc,
    compile_with_nvrtc,
    find_cuobjdump,
    find_nvcc,
    find_nvrtc_12,
    nvcc_archs,
    on_tensor_cores,
    readable,
)

KERNELS = 10 + 9 + 17  # of matching, of attention, of the dictionary
WIDTHS = (32, 64, 128)
ON_TENSOR_CORES = {
    "attention": {f"attention_forward_kernel<{width}>" for width in WIDTHS}
    | {f"attention_backward_kernel<By{s} {w}>" for s in ("Queries", "Keys") for w in WIDTHS},
    "dictionary": {f"assign_codes_kernel<{kind}>" for kind in ("half", "brain", "single")},
}


def expected(compiler: str) -> list[Usage]:
    """The table's rows of this compiler."""
    with TABLE.open(newline="") as file:
        rows = csv.DictReader(file)
        return [
            Usage(r["compiler"], r["arch"], r["kernel"], *(int(r[k]) for k in Usage._fields[3:]))
            for r in rows
            if r["compiler"] == compiler
        ]


def check(found: list[Usage], archs: int) -> None:
    assert len(found) == KERNELS * archs
    assert [usage for usage in found if usage.stack or usage.spills] == []
    table = expected(found[0].compiler)
    if table:  # other compilers allocate otherwise
        assert found == table


@pytest.mark.slow
@pytest.mark.skipif(find_nvcc() is None, reason="no nvcc")
def test_kernels_of_every_architecture_of_the_toolkit(tmp_path: Path) -> None:
    nvcc = find_nvcc()
    assert nvcc is not None
    archs = nvcc_archs(nvcc)
    check(compile_with_nvcc(nvcc, archs, tmp_path), len(archs))
    cuobjdump = find_cuobjdump()
    if cuobjdump is not None:
        for operator, kernels in ON_TENSOR_CORES.items():
            binary = tmp_path / f"{operator}_kernels.fatbin"
            for arch in ("sm_75", "sm_90"):
                assert on_tensor_cores(cuobjdump, binary, arch) == kernels


@pytest.mark.skipif(find_nvrtc_12() is None, reason="no wheel of NVRTC 12: see constraints.txt")
def test_kernels_of_volta() -> None:
    folder = find_nvrtc_12()
    assert folder is not None
    found, ptx = compile_with_nvrtc(folder, "sm_70")
    check(found, 1)
    entries = ptx.split(".entry ")[1:]
    multiplies = {readable(e.partition("(")[0]) for e in entries if "wmma.mma.sync" in e}
    assert multiplies == set().union(*ON_TENSOR_CORES.values())
