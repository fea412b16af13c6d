"""`pytest --benchmark` from any folder, as somebody who installed the package has it."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from vlp_fast.benchmarks import record

PYTEST = (sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider")


def run_pytest(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """pytest in a folder, without the settings of the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "OMP_WAIT"))}
    return subprocess.run(
        [*PYTEST, *map(str, words)],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def test_the_entry_point_is_installed() -> None:
    (found,) = {point for point in entry_points(group="pytest11") if point.name == "vlp_fast"}
    assert found.value == "vlp_fast.benchmarks.plugin"


WRONG = """
def pytest_collection():
    from vlp_fast.benchmarks import case
    case.cases = cases

def cases(operator, setting):
    from vlp_fast.benchmarks.case import Case, Provider
    told = {"operator": operator, "error": lambda _, x: x, "tolerance": 0.5}
    ours, wrong = Provider(lambda _: 0.0), Provider(lambda _: 1.0)
    fails = Provider(lambda _: [][1])
    peers = {"near": ours, "far": wrong, "not here": fails}
    peers["missing"] = Provider(absence="not installed: pip install missing")
    good = Case(name="good", draws=[lambda: 0], providers={"vlp_fast": ours, **peers}, **told)
    bad = Case(name="bad", draws=[lambda: 0], providers={"vlp_fast": wrong, **peers}, **told)
    return [good, bad]
"""


def test_each_provider_is_a_benchmark_of_its_cases_group(tmp_path: Path) -> None:
    """Of two cases of five operators: one where a peer is wrong, and one where ours is."""
    (tmp_path / "conftest.py").write_text("raise RuntimeError('not mine')")
    (tmp_path / "test_other.py").write_text("def test_other(): assert False")
    (tmp_path / "wrong.py").write_text(WRONG)
    words = ("-p", "wrong", "--benchmark", "-k", "matching", "--benchmark-json=x.json")
    options = (
        "--benchmark-min-rounds=4",
        "--benchmark-max-time=0.00000001",
        "--benchmark-sort=name",
    )
    done = run_pytest(tmp_path, *words, *options, "--benchmark-device=cpu")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 passed, 1 skipped, 40 deselected, 1 xfailed, 6 errors" in done.stdout
    assert "matching good: far disagrees: 1 from the truth, allowed 0.5" in done.stdout
    assert "matching bad: vlp_fast disagrees: 1 from the truth, allowed 0.5" in done.stdout
    assert "missing: not installed: pip install missing" in done.stdout
    assert re.search("XFAIL.* not here: failed: IndexError: list index out of range", done.stdout)
    assert re.search("benchmark 'matching good': 2 tests", done.stdout)

    document = json.loads((tmp_path / "x.json").read_text())
    groups = {(one["group"], one["extra_info"]["provider"]) for one in document["benchmarks"]}
    assert groups == {("matching good", "vlp_fast"), ("matching good", "near")}
    assert [one["stats"]["rounds"] for one in document["benchmarks"]] == [4, 4]
    assert document["machine_info"]["vlp_fast"]["omp_wait_policy"] == "passive"
    rows = record.rows(document)
    assert [(row["provider"], row["note"].partition(":")[0]) for row in rows] == [
        *(("vlp_fast", ""), ("near", ""), ("far", "matching good")),
        *(("not here", "failed"), ("missing", "not installed")),
    ]
    for row, one in zip(rows, document["benchmarks"], strict=False):
        times = np.percentile(one["stats"]["data"], (50, 20, 80))
        told = [row[column] for column in ("median_us", "p20_us", "p80_us")]
        assert told == [record.number(1e6 * float(time)) for time in times]
        assert float(row["median_us"]) == pytest.approx(1e6 * one["stats"]["median"], rel=1e-3)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["test_other.py"], "--benchmark takes no paths; choose cases with -k"),
        (["-n", "2"], "--benchmark measures time; leave -n out"),
        (["-p", "no_pygal", "--benchmark-histogram"], "--benchmark-histogram needs pygal: pip"),
        (["-p", "no:benchmark"], "--benchmark needs pytest-benchmark: pip install"),
    ],
)
def test_what_would_spoil_the_times_is_refused(
    tmp_path: Path, words: list[str], complaint: str
) -> None:
    (tmp_path / "test_other.py").touch()
    (tmp_path / "no_pygal.py").write_text("import sys; sys.modules['pygal'] = None")
    done = run_pytest(tmp_path, "--benchmark", "-k", "nothing", *words)
    assert done.returncode == 4
    assert complaint in done.stderr


def test_without_the_option_nothing_changes_and_others_benchmarks_run(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_other(benchmark):\n"
        "    assert benchmark(lambda: 'vlp_fast.benchmarks.harness' in sys.modules) is False\n"
    )
    done = run_pytest(tmp_path, "--benchmark-max-time=0.001", "--benchmark-min-rounds=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
