"""A row says all that a measurement depends on."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from vlp_fast.benchmarks import ledger, record
from vlp_fast.benchmarks.case import Case, Provider
from vlp_fast.benchmarks.limits import limit_fraction
from vlp_fast.benchmarks.result import Result, Timing
from vlp_fast.benchmarks.timing import Spread


def result(provider: str = "vlp_fast", **changes: object) -> Result:
    """Three milliseconds to read a gigabyte, compared with a peer that is missing."""
    case = Case(
        operator="reading",
        name="1GB",
        providers={"vlp_fast": Provider(run=lambda: 0, backend="cuda")},
        error=lambda _: 0.0,
        tolerance=0.0,
        num_bytes=10**9,
        flops=6 * 10**9,
    )
    timing = Timing(
        cache="cold", device=Spread(median=3e-3, p20=2.5e-3, p80=4e-3), host=12.3456e-6, wall=0.25
    )
    told = {
        "error": 1.5e-7,
        "wrong": 0.25,
        "extra_bytes": 3 * 2**19,
        "first": 2.0,
        "compilations": 1,
        "synchronisations": 0.0,
    }
    return Result(case=case, provider=provider, **{**told, "timings": [timing], **changes})


def test_a_row_says_all_that_it_depends_on() -> None:
    (row,) = record.rows([result()], "cpu")
    assert tuple(sorted(row)) == tuple(sorted(ledger.COLUMNS))
    expected = {
        "backend": "cuda",
        "cache": "cold",
        "median_us": "3000",
        "p20_us": "2500",
        "p80_us": "4000",
        "host_us": "12.35",
        "wall_us": "250000",
        "first_us": "2000000",
        "compilations": "1",
        "synchronisations": "0",
        "gb_per_s": "333.3",
        "tflop_per_s": "2.000",
        "limit_fraction": "",  # nobody has written down what this CPU can do
        "max_error": "1.5e-07",
        "wrong_share": "0.2500",
        "extra_mib": "1.500",
        "note": "",
    }
    assert {column: row[column] for column in expected} == expected
    for column in ("device", "cpu_threads", "torch", "numpy", "scipy", "vlp_fast"):
        assert row[column], column


def test_rows_of_a_quick_run_say_so_and_hot_ones_know_no_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record, "limit_fraction", lambda *_: 0.5)
    (cold,) = result().timings
    both = result(timings=[cold, replace(cold, cache="hot")])
    rows = record.rows([both, result("peer", problem="why", timings=[])], "cpu", note="quick")
    assert [row["note"] for row in rows] == ["quick", "quick", "why"]
    assert [row["limit_fraction"] for row in rows] == ["0.5000", "", ""]


def test_the_limit_is_that_of_the_least_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(record, "limit_fraction", lambda _, dtype, *__: asked.append(dtype))
    plain = result()
    halves = replace(plain, case=replace(plain.case, arithmetic="float16"))
    record.rows([plain, halves], "cpu")
    assert asked == ["float32", "float16"]


def test_what_was_not_measured_has_a_note_and_no_figures() -> None:
    (row,) = record.rows([Result(case=result().case, provider="peer", problem="why")], "cpu")
    assert row["note"] == "why"
    assert not any(row[c] for c in ("median_us", "compilations", "max_error", "extra_mib"))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        (float("nan"), ""),
        (0.0, "0"),
        (0.00123456, "0.001235"),
        (1.0, "1.000"),
        (999.96, "1000.0"),
        (123456.7, "123457"),
        (3e-9, "3e-09"),
    ],
)
def test_numbers_have_four_digits(value: float | None, written: str) -> None:
    assert record.number(value) == written
    if written:
        assert float(written) == pytest.approx(value, rel=1e-3)


def test_without_a_checkout_rows_go_to_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ledger.results_folder() == ledger.HERE / "results"
    monkeypatch.setattr(ledger, "HERE", tmp_path / "site-packages" / "vlp_fast" / "benchmarks")
    assert ledger.results_folder() == Path("benchmarks/results")
    record.environment.cache_clear()
    assert record.environment("cpu")["commit"] == ""
    record.environment.cache_clear()


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
