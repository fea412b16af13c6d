"""The journal: one row a line, cut at the step that a resumed run begins from."""

import json
from pathlib import Path

import pytest

from vlp_fast.engine.progress import Display, Journal, read_journal


def test_a_resumed_journal_drops_what_will_be_redone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path, start_step=0)
    for step in (1, 2, 3, 4):
        journal.write(step=step, loss=step / 3)
    Journal(path, start_step=2).write(step=3, loss=9.0)
    assert read_journal(path) == [
        {"step": 1, "loss": 1 / 3},
        {"step": 2, "loss": 2 / 3},
        {"step": 3, "loss": 9.0},
    ]


def test_an_unfinished_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "lo')
    assert read_journal(path) == [{"step": 1, "loss": 2.5}]
    Journal(path, start_step=2).write(step=2, loss=1.0)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_a_new_run_begins_an_empty_journal(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n')
    Journal(path, start_step=0)
    assert read_journal(path) == []
    assert read_journal(tmp_path / "absent") == []


def test_without_a_terminal_a_plain_line_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(total=10, start=0)
    display.step(5)
    display.log(5, {"loss": 1.23456, "mlm": 2.0})
    display.say("note: [brackets] stay")
    display.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("step 5/10  eta 0:00:0")
    assert first.endswith("loss 1.235  mlm 2")
    assert second == "note: [brackets] stay"
