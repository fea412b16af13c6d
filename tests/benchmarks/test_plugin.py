"""`pytest --benchmark` from any folder, as somebody who installed the package has it."""

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PYTEST = (sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider")


def run_pytest(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """pytest --benchmark --benchmark-quick in a folder, without the settings of the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "OMP_"))}
    return subprocess.run(
        [*PYTEST, "--benchmark", "--benchmark-quick", *map(str, words)],
        cwd=folder,
        env={**kept, "PYTHONPATH": os.pathsep.join([str(folder), kept.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )


def test_the_entry_point_is_installed() -> None:
    (found,) = {point for point in entry_points(group="pytest11") if point.name == "vlp_fast"}
    assert found.value == "vlp_fast.benchmarks.plugin"


def test_cases_are_measured_anywhere_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("raise RuntimeError('not mine')")
    (tmp_path / "test_other.py").write_text("def test_other(): assert False")
    done = run_pytest(tmp_path, "-k", "single or assign-N128-K512-D128", "--benchmark-out", "rows")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert re.search(r"^matching: single-100x10 \(forward, float32", done.stdout, re.M)
    assert re.search(r"^  SciPy +[\d.]+ us .*x (faster|slower)", done.stdout, re.M)
    names = {path.name for path in tmp_path.glob("rows/*/*.csv")}
    assert names == {"matching.csv", "dictionary.csv"}


def test_a_quick_run_leaves_no_rows_unasked(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "-k", "single")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rows added" not in done.stdout
    assert not list(tmp_path.rglob("*.csv"))


def test_disagreement_fails_the_case(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from vlp_fast.benchmarks import suite\n"
        "from vlp_fast.benchmarks.case import Case, Provider\n"
        "one = Provider(run=lambda: 1.0)\n"
        "case = Case(operator='matching', name='wrong', providers={'vlp_fast': one},\n"
        "            error=lambda x: x, tolerance=0.5)\n"
        "suite.cases = lambda operator, where: {'wrong': lambda: case}\n"
    )
    done = run_pytest(tmp_path, "-p", "broken", "-k", "matching")
    assert done.returncode == 1
    assert "matching wrong: vlp_fast disagrees: 1 from the truth, allowed 0.5" in done.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["test_other.py"], "--benchmark takes no paths; choose cases with -k"),
        (["-n", "2"], "--benchmark measures time; leave -n out"),
    ],
)
def test_what_would_spoil_the_times_is_refused(
    tmp_path: Path, words: list[str], complaint: str
) -> None:
    (tmp_path / "test_other.py").touch()
    done = run_pytest(tmp_path, *words)
    assert done.returncode == 4
    assert complaint in done.stderr


def test_without_the_option_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_other(): assert 'vlp_fast.benchmarks.suite' not in sys.modules\n"
    )
    done = subprocess.run(
        PYTEST,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
