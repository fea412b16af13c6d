"""`vlp-fast bench`: what it prints, writes and refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vlp_fast.benchmarks import OPERATORS, ledger, suite
from vlp_fast.benchmarks.case import Case, Provider

Call = Callable[..., Any]


def test_a_quick_run_prints_tables_and_keeps_rows_where_told(call: Call, tmp_path: Path) -> None:
    answer = call("bench", "dictionary", "--device", "cpu", "--quick", "--out", tmp_path)
    assert (answer.code, answer.err) == (0, "")
    assert "\ndictionary: assign-N128-K512-D128 (forward, float32" in answer.out
    assert "cdist + argmin" in answer.out
    (path,) = tmp_path.glob("*/*.csv")
    assert answer.out.endswith(f"rows added to {path}\n")
    assert {row["operator"] for row in ledger.read(path)} == {"dictionary"}

    answer = call("bench", "--report", path.parent)
    assert answer.code == 0
    assert answer.out.split() == [
        str(path.parent / name) for name in ("report.md", "dictionary.png")
    ]


def test_one_case_that_fails_does_not_end_the_others(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str, ours: float, peer: float) -> Callable[[], Case]:
        runs = {"vlp_fast": ours, "peer": peer, "other": 0.0}
        return lambda: Case(
            operator="matching",
            name=name,
            providers={who: Provider(run=lambda far=far: far) for who, far in runs.items()},
            error=abs,
            tolerance=1e-4,
        )

    cases = {
        "bad": made("bad", 0.92, 0.0),
        "undrawn": lambda: None,
        "good": made("good", 0.0, 0.92),
    }
    monkeypatch.setattr(suite, "cases", lambda operator, where: cases)
    answer = call("bench", "matching", "--device", "cpu", "--quick", "--out", tmp_path)
    assert answer.code == 1
    first, second = answer.err.splitlines()
    assert (
        first == "vlp-fast: matching bad: vlp_fast disagrees: 0.92 from the truth, allowed 0.0001"
    )
    assert second.startswith("vlp-fast: matching undrawn: AttributeError: ")
    assert "disagrees: 0.92 from the truth, allowed 0.0001" in answer.out
    (path,) = tmp_path.glob("*/*.csv")
    kept = [(row["case"], row["provider"], bool(row["median_us"])) for row in ledger.read(path)]
    assert kept == [("good", "vlp_fast", True), ("good", "peer", False), ("good", "other", True)]


def test_rows_from_elsewhere_are_merged_into_the_ledger(call: Call, tmp_path: Path) -> None:
    known = {"operator": "matching", "provider": "vlp_fast", "device": "NVIDIA H200"}
    row = {**dict.fromkeys(ledger.COLUMNS, ""), **known, "median_us": "3.5"}
    ledger.append([row], tmp_path / "there")
    answer = call("bench", "--merge", tmp_path / "there", "--out", tmp_path / "here")
    path = tmp_path / "here" / "h200" / "matching.csv"
    assert (answer.code, answer.out) == (0, f"1 rows added to {path}\n")
    assert ledger.read(path) == [row]


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlp_fast.benchmarks.suite.run", lambda *_: pytest.fail("measured"))
    (tmp_path / "file").touch()
    words = ("bench", "dictionary", "--device", "cpu", "--quick", "--out", tmp_path / "file")
    call(*words).assert_refused("cannot be written", "--out")


def test_without_matplotlib_the_page_says_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("bench", "dictionary", "--device", "cpu", "--quick", "--out", tmp_path)
    (folder,) = tmp_path.iterdir()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert call("bench", "--report", folder).out == f"{folder / 'report.md'}\n"
    assert "pip install 'vlp-fast[viz]'" in (folder / "report.md").read_text()


def test_wrong_input_is_one_line(call: Call, tmp_path: Path) -> None:
    call("bench", "norms").assert_refused("'norms'", *OPERATORS)
    call("bench", "--devise", "cpu").assert_refused("--devise", "--device")
    call("bench", "--report", tmp_path).assert_refused(tmp_path, "holds no measurements")
    (tmp_path / "matching.csv").write_text("a,b\n1,2\n")
    call("bench", "--report", tmp_path).assert_refused("matching.csv", "columns")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_gpu_that_is_not_there_is_one_line(call: Call) -> None:
    call("bench", "--device", "cuda").assert_refused("no CUDA device")
