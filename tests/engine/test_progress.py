"""The journal: one row a line, cut at the step that a resumed run begins from."""

import json
import os
from pathlib import Path

import pytest

from vlp_fast.engine.progress import Display, Journal, append_row, read_journal
from vlp_fast.errors import InputError


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


def test_a_run_that_went_back_knows_how_long_it_takes_from_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even behind the step that its process began with."""
    clock = iter([0.0, 7200.0, 7210.0])
    monkeypatch.setattr("vlp_fast.engine.progress.time.monotonic", lambda: next(clock))
    display = Display(total=1000, start=500)
    display.go_back(400)
    display.log(410, {"loss": 1.0})
    assert capsys.readouterr().out.startswith("step 410/1000  eta 0:09:50  ")


def test_a_reader_that_leaves_is_told_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the output stays what it was: rich would point it at nothing and end the program."""
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w", buffering=1) as left:
        monkeypatch.setattr("sys.stdout", left)
        with pytest.raises(BrokenPipeError):
            Display(total=10, start=0).say("a step")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), theirs)  # to close it without another error


def test_rows_without_a_number_of_a_step_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = ['{"step": 1}', '{"step": "2"}', '{"step": null}', "3", '{"loss": 4}', '{"step": 5}']
    path.write_text("\n".join(rows) + "\n")
    assert [row["step"] for row in read_journal(path)] == [1, 5]
    journal = Journal(path, start_step=4)
    assert read_journal(path) == [{"step": 1}]
    assert journal.last_step("train") == -1


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"[" * 100_000, b"\0"])
def test_nonsense_is_no_row(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + content)
    assert read_journal(path) == [{"step": 1}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path, start_step=0)
    path.unlink()
    path.symlink_to("/dev/full")
    for write in (lambda: journal.write(step=1), lambda: append_row(path, {"step": 1})):
        with pytest.raises(InputError, match=r"metrics\.jsonl: cannot be written \(No space"):
            write()


def test_a_journal_that_cannot_be_rewritten_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent/metrics\.jsonl: cannot be written"):
        Journal(tmp_path / "absent" / "metrics.jsonl", start_step=0)


def test_a_kill_while_the_journal_is_rewritten_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')

    def kill(_: Path) -> None:
        assert path.read_text() == '{"step": 1}\n'
        raise KeyboardInterrupt

    monkeypatch.setattr("vlp_fast.whole_file.sync", kill)
    with pytest.raises(KeyboardInterrupt):
        Journal(path, start_step=0)
    assert read_journal(path) == [{"step": 1}]


def test_what_is_said_is_one_line_that_no_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = Display(total=1, start=0)
    display.say("replaced: a\nb\x1b[2J\udcff :cat:.jpg")
    display.close()
    out = capsys.readouterr().out
    assert out[:-1].isprintable()
    assert out.startswith("replaced: a")
    assert out.endswith(":cat:.jpg\n")


def test_journals_are_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": NaN}\n{"st\n{"step": 2, "loss": -Infinity}\n{"step": 3')
    notes: list[str] = []
    journal = Journal(path, start_step=2, say=notes.append)
    journal.write(step=3, loss=float("nan"), norm=float("inf"), lr=0.5)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    lines = path.read_text().splitlines()
    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        {"step": 1, "loss": None},
        {"step": 2, "loss": None},
        {"step": 3, "loss": None, "norm": None, "lr": 0.5},
    ]
    assert notes == [f"{path}: lines that are no rows are left out: 2"]
