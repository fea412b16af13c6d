"""From pytest-benchmark's file to rows that say all that a measurement depends on."""

import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.benchmarks import ledger, record
from vlp_fast.benchmarks.harness import Result
from vlp_fast.benchmarks.record import limit_fraction

TIMES = [2e-3, 3e-3, 4e-3, 2.5e-3, 10e-3]


def result(provider: str = "vlp_fast", **changes: object) -> Result:
    """Three milliseconds to read a gigabyte."""
    told: dict[str, Any] = {"operator": "reading", "case": "1GB", "provider": provider}
    told |= {"backend": "cuda", "direction": "forward", "dtype": "float32", "arithmetic": "float16"}
    told |= {"error": 1.5e-7, "wrong": 0.25, "extra_bytes": 3 * 2**19, "first": 2.0}
    told |= {"compilations": 1, "synchronisations": 0.0, "num_bytes": 10**9, "flops": 6 * 10**9}
    told |= {"others_cpu": 0.0123456, "host": 12.3456e-6, "wall": 0.25, "cache": "cold"}
    return Result(**{**told, **changes})


def document(*, device: str = "NVIDIA H200", is_quick: bool = False, **changes: Any) -> Any:
    """What pytest-benchmark writes of it, of somebody else's, and of a peer that is missing."""
    info = asdict(result(**changes))
    machine = {**record.environment("cpu"), "device": device, "is_quick": is_quick}
    absent = result("peer", verdict="left out", problem="why", error=None, first=None)
    return {
        "machine_info": {"node": "n", "vlp_fast": machine},
        "datetime": "2026-11-21T07:53:17.123456+00:00",
        "benchmarks": [
            {"name": "other", "extra_info": {}, "stats": {"data": [1.0]}},
            {"name": "ours", "extra_info": info, "stats": {"median": 3e-3, "data": TIMES}},
        ],
        "vlp_fast_left_out": [asdict(absent)],
    }


def test_a_row_says_all_that_it_depends_on() -> None:
    cold, absent = record.rows(document())
    assert set(cold) == set(absent) == set(ledger.COLUMNS)
    expected = {
        "operator": "reading",
        "case": "1GB",
        "provider": "vlp_fast",
        "backend": "cuda",
        "direction": "forward",
        "dtype": "float32",
        "cache": "cold",
        "median_us": "3000",
        "p20_us": "2400",
        "p80_us": "5200",
        "host_us": "12.35",
        "wall_us": "250000",
        "first_us": "2000000",
        "compilations": "1",
        "synchronisations": "0",
        "max_error": "1.5e-07",
        "gb_per_s": "333.3",
        "tflop_per_s": "2.000",
        "limit_fraction": "0.06944",
        "wrong_share": "0.2500",
        "extra_mib": "1.500",
        "others_cpu": "0.01200",
        "note": "",
        "device": "NVIDIA H200",
        "date": "2026-11-21T07:53:17Z",
    }
    assert {column: cold[column] for column in expected} == expected
    for column in ("cpu_threads", "torch", "numpy", "scipy", "vlp_fast"):
        assert cold[column], column
    assert (absent["provider"], absent["note"], absent["date"]) == ("peer", "why", cold["date"])
    assert not any(absent[column] for column in ledger.FIGURES)


def test_rows_of_a_quick_run_say_so_and_others_files_hold_none() -> None:
    assert [row["note"] for row in record.rows(document(is_quick=True))] == ["quick", "why"]
    assert record.rows({"machine_info": {}, "benchmarks": []}) == []
    cold, *_ = record.rows(document(device="AMD EPYC, 2 cores"))
    assert cold["limit_fraction"] == ""  # nobody has written down what this CPU can do


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *((None, ""), (0.0, "0"), (0.00123456, "0.001235"), (1.0, "1.000")),
        *((999.96, "1000.0"), (123456.7, "123457"), (3e-9, "3e-09")),
    ],
)
def test_numbers_have_four_digits(value: float | None, written: str) -> None:
    assert record.number(value) == written
    if written:
        assert float(written) == pytest.approx(value, rel=1e-3)


def test_a_commit_with_changes_ends_in_a_plus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    monkeypatch.setattr(ledger, "HERE", tmp_path / "benchmarks")
    assert record._commit() == ""
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setenv(record.COMMIT, "told")
    assert record._commit() == "told"
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    commit = git("rev-parse", "--short", "HEAD")
    assert record._commit() == commit
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "new.csv").touch()  # rows are no change of the code
    assert record._commit() == commit
    (tmp_path / "pyproject.toml").write_text("changed")
    assert record._commit() == f"{commit}+"


def test_the_limit_is_the_slower_of_memory_and_arithmetic() -> None:
    h200 = "NVIDIA H200"
    assert limit_fraction(h200, "float32", 1.0, 4_800 * 10**9, None) == pytest.approx(1.0)
    assert limit_fraction(h200, "float32", 2.0, 10**9, 67 * 10**12) == pytest.approx(0.5)
    assert limit_fraction(h200, "bfloat16", 1.0, None, 989 * 10**12) == pytest.approx(1.0)
    assert limit_fraction(h200, "float64", 1.0, None, 1) is None
    assert limit_fraction(h200, "float32", 1.0, None, None) is None
    assert limit_fraction("some device", "float32", 1.0, 1, 1) is None
