"""No program spills on any GPU, each fits, products take tensor cores, the table is of today."""

import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
from sealed_rows import REPAIR, Row, is_of, read_rows

triton = pytest.importorskip("triton")

SCRIPT = Path(__file__).with_name("triton_resources.py")
# Of one program, in bytes: NVIDIA's programming guide, table of compute capabilities.
SHARED = {"sm_80": 163, "sm_89": 99, "sm_90": 227, "sm_100": 227, "sm_120": 99}
TENSOR_CORES = {"sm_90": "wgmma.mma_async", "sm_100": "tcgen05.mma"}
PRODUCTS = ("assign_kernel", "resolve_kernel", "linear_with_positions_kernel")
PRODUCTS += ("attention_kernel", "grad_keys_kernel", "grad_queries_kernel")
PROGRAMS = 48

ROWS = read_rows(SCRIPT.with_suffix(".csv"))
IS_OF_THIS_TRITON = {row["triton"] for row in ROWS} == {triton.__version__}


def script(word: str, folder: Path) -> list[Row]:
    """What triton_resources.py prints, compiling anew what it has to."""
    compiled = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, SCRIPT, word],
        env=compiled | {"TRITON_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (folder / "rows.csv").write_text(done.stdout)
    return read_rows(folder / "rows.csv")


def name_of(row: Row) -> tuple[str, str, str]:
    return row["arch"], row["kernel"], row["variant"]


def check(rows: Sequence[Row]) -> None:
    """No program spills, each fits into shared memory, products take tensor cores."""
    assert [row for row in rows if row["spills"] != "0"] == []
    assert [row for row in rows if int(row["shared"]) > SHARED[row["arch"]] * 1024] == []
    for row in rows:
        # Products of whole float32 numbers take none.
        is_product = row["kernel"] in PRODUCTS and not row["variant"].startswith("fp32 ieee")
        used = row["tensor_cores"].split()
        expected = TENSOR_CORES.get(row["arch"], "mma.sync")
        assert expected in used if is_product else not used


def compare(found: Sequence[Row]) -> None:
    """With the table; other versions of Triton allocate otherwise."""
    check(found)
    if not IS_OF_THIS_TRITON:
        told = f"the table is of Triton {ROWS[0]['triton']}: registers of {triton.__version__} "
        warnings.warn(told + "are not compared", stacklevel=1)
        return
    table = {name_of(row): row for row in ROWS}
    assert found == [table[name_of(row)] for row in found], REPAIR


def test_table_holds_every_program_on_every_gpu_without_spills() -> None:
    check(ROWS)
    assert len({name_of(row) for row in ROWS}) == len(ROWS) == PROGRAMS * len(SHARED)
    assert {row["arch"] for row in ROWS} == set(SHARED)


@pytest.mark.skipif(not IS_OF_THIS_TRITON, reason="Triton's own hashes differ by version")
def test_table_is_of_todays_programs(tmp_path: Path) -> None:
    programs = script("--sources", tmp_path)
    assert [name_of(row) for row in ROWS] == [name_of(program) for program in programs], REPAIR
    for row, program in zip(ROWS, programs, strict=True):
        assert is_of(row, program["source"]), REPAIR


def test_a_sample_compiles_to_the_table(tmp_path: Path) -> None:
    """Of one program for each architecture: others with each change of a program."""
    found = script("--sample", tmp_path)
    assert [row["arch"] for row in found] == list(SHARED)
    compare(found)


@pytest.mark.exhaustive
def test_everything_compiles_to_the_table(tmp_path: Path) -> None:
    found = script("--all", tmp_path)
    assert len(found) == PROGRAMS * len(SHARED)
    compare(found)
