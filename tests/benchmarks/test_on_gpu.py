"""The command for machines with a GPU, where something is missing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vlp_fast.benchmarks import OPERATORS

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
    done = on_gpu(tmp_path / "out", tmp_path / "wheels", PYTHONPATH=tmp_path)
    summary = done.stdout.partition("===== summary")[2]
    assert done.returncode == 1
    assert "broken on purpose" in (tmp_path / "out" / "log.txt").read_text()
    assert "torch                    FAILED: does not import" in summary
    assert f"FAILED: {tmp_path / 'wheels'} holds no .whl" in summary
    assert "CUDA" not in summary


def test_time_that_is_up_ends_it(tmp_path: Path) -> None:
    done = on_gpu(tmp_path / "out", LIMIT="3")
    assert done.returncode == 1
    assert "FAILED: no time left" in done.stdout


def test_every_benchmark_runs_unless_told_otherwise() -> None:
    script = SCRIPT.read_text()
    (default,) = re.findall(r"^OPERATORS=\$\{OPERATORS-(.*)\}$", script, re.M)
    assert sorted(default.split()) == sorted(OPERATORS)
    assert 'for operator in $OPERATORS; do\n    bench "$operator"\n' in script
    pictures = re.findall(r'"\$ROWS"/\*/\{(.*)\}\*\.png', script)
    assert sorted(pictures[0].split(",")) == sorted(OPERATORS)


def test_the_sanitizer_sees_every_test_of_kernels_once_the_dictionary_first() -> None:
    script = SCRIPT.read_text()
    (first,) = re.findall(r"^DICTIONARY_TESTS=(.*)$", script, re.M)
    (others,) = re.findall(r"^OTHER_TESTS=\((.*)\)$", script, re.M)
    root = SCRIPT.parents[1]
    there = [str(path.relative_to(root)) for path in root.glob("tests/ops/test_*_gpu.py")]
    assert sorted([first, *others.split()]) == sorted(there)
    before, _, after = script.partition('sanitizer memcheck 60 "$DICTIONARY_TESTS"')
    assert before.rstrip().endswith('bench "$operator"\n    if [ "$operator" = dictionary ]; then')
    assert after.count("\nsanitizer ") == 2  # racecheck and synccheck


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


def test_without_a_gpu_nothing_is_built_for_one() -> None:
    with_gpu, without = SCRIPT.read_text().split("fail device ")
    assert "export VLP_FAST_CUDA=1" in with_gpu
    assert "export VLP_FAST_CUDA=0" in without.partition("\nfi\n")[0]


def test_wrong_words_are_told_the_usage(tmp_path: Path) -> None:
    done = on_gpu()
    assert (done.returncode, done.stderr) == (2, "")
    assert "benchmarks/on_gpu.sh DESTDIR [WHEELS_DIR]" in done.stdout
    assert "OPERATORS=" in done.stdout
    assert len(done.stdout.splitlines()) == 4  # the head of the file and no more
    assert on_gpu(tmp_path, tmp_path / "missing").returncode == 2
