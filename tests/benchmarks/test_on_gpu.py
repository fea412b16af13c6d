"""The command for machines with a GPU, where something is missing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vlp_fast.benchmarks import LATENCY, OPERATORS, STEP
from vlp_fast.benchmarks.step.cases import CASES

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "on_gpu.sh"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def on_gpu(*words: str | Path, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script with this Python."""
    changed = {"PYTHON": sys.executable, **{name: str(value) for name, value in variables.items()}}
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, words)],
        env={**os.environ, **changed},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_torch_that_does_not_import_is_not_a_missing_gpu(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('broken on purpose')")
    (tmp_path / "wheels").mkdir()
    done = on_gpu("bench", tmp_path / "out", tmp_path / "wheels", PYTHONPATH=tmp_path)
    summary = done.stdout.partition("===== summary")[2]
    assert done.returncode == 1
    assert "broken on purpose" in (tmp_path / "out" / "bench.txt").read_text()
    assert "torch                    FAILED: does not import" in summary
    assert f"FAILED: {tmp_path / 'wheels'} holds no .whl" in summary
    assert "CUDA" not in summary


def test_time_that_is_up_ends_it(tmp_path: Path) -> None:
    done = on_gpu("tests", tmp_path / "out", LIMIT="3")
    assert done.returncode == 1
    assert "FAILED: no time left" in done.stdout


STUB = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
    *get_device_name*) echo 'NVIDIA H200' ;;
    *purelib*) dirname "$CALLS" ;;
    *"-m venv"*)
        mkdir -p "${!#}/bin"
        for name in python vlp-fast compute-sanitizer; do cp "$0" "${!#}/bin/$name"; done ;;
    "bench losses --device"*) exit 1 ;;
    "bench matching --device"*)
        mkdir -p "${!#}/h200" && touch "${!#}/h200/matching.csv" ;;
    "bench --report"*) touch "${!#}/report.md" "${!#}/matching-sweeps.png" ;;
esac
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A Python, and what it installs, that only writes down what they are asked for."""
    path = tmp_path / "python3"
    path.write_text(STUB)
    path.chmod(0o755)
    return path


def calls_of(stub: Path, what: str, operators: str) -> tuple[list[str], str, set[str]]:
    """What is called on a GPU, what is printed, and the files that come back."""
    written = stub.parent / "calls.txt"
    done = on_gpu(what, stub.parent / "out", PYTHON=stub, CALLS=written, OPERATORS=operators)
    out = stub.parent / "out"
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    return written.read_text().splitlines(), done.stdout, files


def test_tests_of_the_chosen_operators_come_before_the_sanitizer(stub: Path) -> None:
    called, printed, files = calls_of(stub, "tests", "matching attention")
    run = [line for line in called if "pytest" in line]
    assert run[0].startswith("python -m pytest -q --durations=10")
    assert run[0].endswith("-m gpu -k matching or attention tests")
    tools = [re.search(r"compute-sanitizer --tool (\w+)", line)[1] for line in run[1:]]
    assert tools == ["memcheck", "racecheck", "synccheck"]
    for line in run[1:]:
        sanitized = line.split()[-3:]
        assert sanitized == [
            f"tests/ops/test_{n}_gpu.py" for n in ("matching", "attention", "norm")
        ]
    assert "FAILED" not in printed.partition("summary")[2].replace("commit", "")
    assert files == {"tests.txt"}
    called, _, _ = calls_of(stub, "tests", "")
    assert [line for line in called if line.endswith("-m gpu tests")]


def test_benchmarks_of_the_chosen_operators_come_back_with_their_report(stub: Path) -> None:
    called, printed, files = calls_of(stub, "bench", "losses norm matching")
    measured = [line.split()[2] for line in called if "--device cuda" in line]
    assert measured == ["losses", "matching"]
    assert re.search(r"bench losses +FAILED: exit code 1", printed)
    assert re.search(r"bench norm +skipped: it has none", printed)
    assert files == {
        *("bench.txt", "report.md", "matching-sweeps.png", "results/h200/matching.csv")
    }
    called, _, _ = calls_of(stub, "bench", "")
    assert {line.split()[2] for line in called if "--device cuda" in line} == {
        *OPERATORS,
        STEP,
        LATENCY,
    }


def test_whole_steps_are_measured_beside_everybody() -> None:
    named = re.findall(r"^(?:EAGER|COMPILED)=\((.*)\)$", SCRIPT.read_text(), re.M)
    eager, compiled = (re.findall(r'"(.*?)"', names) for names in named)
    ways = {name: way for case in CASES.values() for name, way in case.others.items()}
    assert {*eager} == {name for name, way in ways.items() if not way.is_compiled}
    assert {*compiled} == {name for name, way in ways.items() if way.is_compiled}


def test_the_sanitizer_still_sees_tests_of_every_cuda_kernel() -> None:
    """What is left out by name leaves tests of each operator that CUDA kernels compute."""
    (unwanted,) = re.findall(r'^UNSANITIZED="(.*)"$', SCRIPT.read_text(), re.M)
    root = SCRIPT.parents[1]
    for operator in ("dictionary", "matching", "attention"):
        tests = re.findall(
            r"^def (test_\w+)", (root / f"tests/ops/test_{operator}_gpu.py").read_text(), re.M
        )
        seen = [test for test in tests if not any(word in test for word in unwanted.split(" or "))]
        assert len(tests) > len(seen) >= 3
    (operators,) = re.findall(r'^ALL="(.*)"$', SCRIPT.read_text(), re.M)
    there = {path.stem.split("_")[1] for path in root.glob("tests/ops/test_*_gpu.py")}
    assert there <= {*operators.split(), "norm"}


def test_without_a_gpu_nothing_is_built_for_one() -> None:
    with_gpu, without = SCRIPT.read_text().split("fail device ")
    assert "export VLP_FAST_CUDA=1" in with_gpu
    assert "export VLP_FAST_CUDA=0" in without.partition("\nfi\n")[0]


def test_wrong_words_are_told_the_usage(tmp_path: Path) -> None:
    for words in ((), ("all", tmp_path), ("bench",)):
        done = on_gpu(*words)
        assert (done.returncode, done.stderr) == (2, "")
        assert "benchmarks/on_gpu.sh tests|bench DESTDIR [WHEELS_DIR]" in done.stdout
        assert len(done.stdout.splitlines()) == 4  # the head of the file and no more
    assert on_gpu("bench", tmp_path, tmp_path / "missing").returncode == 2
