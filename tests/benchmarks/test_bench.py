"""`vlp-fast bench`: what it writes and refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vlp_fast.benchmarks import OPERATORS, bench, ledger

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own workers are none of the benchmarks, which pytest-benchmark would warn of."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def test_a_quick_run_prints_tables_and_keeps_rows_where_told(call: Call, tmp_path: Path) -> None:
    answer = call("bench", "losses", "--device", "cpu", "--quick", "--out", tmp_path)
    assert answer.code == 0, answer.out
    assert "benchmark 'losses criterion-6xB2-T30'" in answer.out
    (path,) = tmp_path.glob("*/*.csv")
    rows = ledger.read(path)
    assert answer.out.endswith(f"\n{len(rows)} rows added to {path}\n")
    assert [row["provider"] for row in rows][::2] == ["vlp_fast", "DETR"]
    assert {row["note"] for row in rows} == {"quick"}
    assert list(tmp_path.iterdir()) == [path.parent]  # pytest-benchmark's file is gone

    answer = call("bench", "--report", path.parent)
    assert (answer.code, answer.out) == (0, f"{path.parent / 'report.md'}\n")


def test_rows_and_files_from_elsewhere_are_merged_into_the_ledger(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"operator": "matching", "provider": "vlp_fast", "device": "NVIDIA H200"}
    row = {**dict.fromkeys(ledger.COLUMNS, ""), **known, "median_us": "3.5"}
    quick = {**row, "note": "quick", "date": "2026-11-30"}
    beside = {**quick, "provider": "peer", "median_us": "", "note": "left out of a quick run"}
    ledger.append([row, quick, beside], tmp_path / "there")
    path = tmp_path / "here" / "h200" / "matching.csv"
    for count in (1, 0):
        answer = call("bench", "--merge", tmp_path / "there", "--out", tmp_path / "here")
        assert (answer.code, answer.out) == (0, f"{count} rows added to {path}\n")
    (tmp_path / "x.json").write_text("{}")
    call("bench", "--merge", tmp_path / "x.json").assert_refused("x.json", "no measurements")
    other = {**row, "case": "other"}
    monkeypatch.setattr("vlp_fast.benchmarks.record.rows", lambda document: [other, quick, beside])
    answer = call("bench", "--merge", tmp_path / "x.json", "--out", tmp_path / "here")
    assert answer.out == f"1 rows added to {path}\n"
    assert ledger.read(path) == [row, other]
    (tmp_path / "x.json").write_text("{")
    call("bench", "--merge", tmp_path / "x.json").assert_refused("x.json", "cannot be read")


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest.main", lambda *_: pytest.fail("measured"))
    (tmp_path / "file").touch()
    words = ("bench", "dictionary", "--device", "cpu", "--quick", "--out", tmp_path / "file")
    call(*words).assert_refused("cannot be written", "--out")


def test_what_is_asked_of_pytest(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("pytest.main", lambda words: asked.append(words) or 1)
    assert call("bench", "losses", "matching", "--device", "cpu", "--quick").code == 1
    (words,) = asked
    assert words[-2:] == ["-k", "losses or matching"]
    assert {"--benchmark", "--benchmark-device=cpu", "--benchmark-quick", *bench.SHOWN} < {*words}


def test_wrong_input_is_one_line(call: Call, tmp_path: Path) -> None:
    call("bench", "norms").assert_refused("'norms'", *OPERATORS)
    call("bench", "--devise", "cpu").assert_refused("--devise", "--device")
    call("bench", "--report", tmp_path).assert_refused(tmp_path, "holds no measurements")
    (tmp_path / "matching.csv").write_text("a,b\n1,2\n")
    call("bench", "--report", tmp_path).assert_refused("matching.csv", "columns")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_one_line(call: Call) -> None:
    call("bench", "--device", "cuda").assert_refused("no CUDA device")
