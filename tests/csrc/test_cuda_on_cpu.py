"""The stand-in for tensor cores refuses what a GPU would answer with anything, or with a hang."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)

EXPECTED = [
    "nothing",
    "cuda_on_cpu: lanes disagree about a matrix",
    "cuda_on_cpu: a fragment's matrix begins at no multiple of 32 bytes",
    "cuda_on_cpu: a fragment's lines are no multiple of 16 bytes apart",
    "cuda_on_cpu: a fragment that was never filled",
    "cuda_on_cpu: a lane left before its warp met",
    "cuda_on_cpu: lanes disagree about a matrix",
]


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_misused_fragments_are_errors(tmp_path: Path) -> None:
    program = tmp_path / "misused"
    command = [str(COMPILER), "-std=c++17", "-w", f"-I{ROOT / 'tests/cuda_on_cpu'}"]
    source = ROOT / "tests/csrc/misused_fragments.cpp"
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == EXPECTED
