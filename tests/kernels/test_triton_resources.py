"""No program spills on any GPU, each fits, products take tensor cores, the table is of today."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SCRIPT = Path(__file__).with_name("triton_resources.py")
TABLE = SCRIPT.with_suffix(".csv")
# Of one program, in bytes: NVIDIA's programming guide, table of compute capabilities.
SHARED = {"sm_80": 163, "sm_89": 99, "sm_90": 227, "sm_100": 227, "sm_120": 99}
TENSOR_CORES = {"sm_90": "wgmma.mma_async", "sm_100": "tcgen05.mma"}
PRODUCTS = ("assign_kernel", "resolve_kernel", "linear_with_positions_kernel")
PRODUCTS += ("attention_kernel", "grad_keys_kernel", "grad_queries_kernel")
PROGRAMS = 48


def rows_of(lines: list[str], arch: str) -> list[dict[str, str]]:
    return [row for row in csv.DictReader(lines) if row["arch"] == arch]


@pytest.mark.parametrize("arch", SHARED)
def test_programs(arch: str, tmp_path: Path) -> None:
    compiled = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, SCRIPT, arch.removeprefix("sm_")],
        env=compiled | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = rows_of(done.stdout.splitlines(), arch)
    assert len(found) == PROGRAMS
    assert [row for row in found if row["spills"] != "0"] == []
    assert [row for row in found if int(row["shared"]) > SHARED[arch] * 1024] == []
    for row in found:
        # Products of whole float32 numbers take none.
        is_product = row["kernel"] in PRODUCTS and not row["variant"].startswith("fp32 ieee")
        used = row["tensor_cores"].split()
        assert TENSOR_CORES.get(arch, "mma.sync") in used if is_product else not used
    table = rows_of(TABLE.read_text().splitlines(), arch)
    assert len(table) == PROGRAMS
    if table[0]["triton"] == found[0]["triton"]:  # others allocate otherwise
        assert found == table
