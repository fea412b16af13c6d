"""Detection from the command line: train, evaluate in columns, hand in; what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
QUICK = ["--data.num-workers", 0, "--train.batch-size", 4, "--train.log-every", 1]
QUICK += ["--data.shorter", 48, "--data.shorter-held-out", 48, "--data.longer", 80]
RECIPE = "detection_e2e_vlp_tiny"


@pytest.fixture(scope="module")
def run(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on the world, with all that is written at the end."""
    from vlp_fast.cli import main

    folder = tmp_path_factory.mktemp("detection") / "run"
    words = ["train", RECIPE, "--data.root", small_world, "--steps", 2, "--run-dir", folder]
    assert main([str(word) for word in (*words, *QUICK)]) == 0
    return folder


def test_figures_stand_in_columns(call: Call, run: Path) -> None:
    (row,) = [
        json.loads(line)
        for line in (run / "metrics.jsonl").read_text().splitlines()
        if '"kind": "held_out"' in line
    ]
    assert {"ap_own_text", "ap_no_text", "ap_foreign_text", "text_gain_low"} <= set(row)
    assert (run / "report.png").stat().st_size > 10_000
    answer = call("evaluate", run, "--split", "test")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    (head,) = [
        n for n, line in enumerate(lines) if line.split() == ["own_text", "no_text", "foreign_text"]
    ]
    table = {line.split()[0]: line.split()[1:] for line in lines[head + 1 :] if line}
    assert set(table) >= {"ap", "ap50", "ap75", "ar_1", "ar_10", "ar_100", "ap_low", "ap_attribute"}
    assert all(len(cells) == 3 for name, cells in table.items() if name != "note:")
    assert not any(line.startswith("ap_own_text") for line in lines)
    assert any(line.startswith("text_gain ") for line in lines)


def test_boxes_are_handed_in(call: Call, run: Path, small_world: Path, tmp_path: Path) -> None:
    out = tmp_path / "detections.json"
    answer = call("submit", run, "--out", out)
    assert answer.code == 0, answer.err
    assert f"written: {out}, of world test, 3 examples" in answer.out
    entries = json.loads(out.read_text())
    assert len(entries) == 3 * 24  # every query of every image
    call("submit", run, "--out", tmp_path / "no.json", "--split", "train").assert_refused(
        "no answers to split 'train' of COCO detection are to be handed in; predict val"
    )
    assert not (tmp_path / "no.json").exists()


def test_what_is_refused_before_a_run(call: Call, small_world: Path, tmp_path: Path) -> None:
    begin = ("train", RECIPE, "--run-dir", tmp_path / "run")
    call(*begin, "--data.root", tmp_path).assert_refused("no known layout")
    call(*begin, "--data.root", small_world, "--task.texts", "own", "own").assert_refused(
        "received --task.texts = ", "none of them twice"
    )
    two = ("--data.root", small_world, "--data.root", small_world / "nlvr2")
    call(*begin, *two).assert_refused("received 2 data sets")
