"""Ctrl-C, other settings, broken held-out images: nothing is lost and nothing is silent."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from spoilt_steps import each_forward

from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.stop import StopRequest
from vlp_fast.engine.trainer import Trainer, train
from vlp_fast.errors import InputError

Make = Callable[..., RunConfig]


@pytest.fixture(params=["default", "ignored"])
def before(request: pytest.FixtureRequest) -> Iterator[object]:
    """What SIGINT does before a run: a shell that starts it by `&` has it ignored."""
    kind = signal.SIG_IGN if request.param == "ignored" else signal.default_int_handler
    old = signal.signal(signal.SIGINT, kind)
    yield kind
    signal.signal(signal.SIGINT, old)


def test_the_first_signal_is_noted_and_the_second_stops(before: object) -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """As `nohup` has it, while a terminal's end otherwise ends the run in an orderly way."""
    for kind, is_asked in ((signal.SIG_IGN, False), (signal.SIG_DFL, True)):
        before = signal.signal(signal.SIGHUP, kind)
        try:
            with StopRequest() as stop:
                os.kill(os.getpid(), signal.SIGHUP)
                assert stop.is_asked is is_asked
        finally:
            signal.signal(signal.SIGHUP, before)


def test_a_stopped_run_saves_its_step_and_goes_on_as_if_nothing_had_been(
    micro: Make, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    whole = train(micro("soho_tiny", tmp_path / "whole"))
    run = micro("soho_tiny", tmp_path / "stopped")
    torch.manual_seed(run.train.seed)
    trainer = Trainer(build_experiment(run))
    ask = lambda *_: setattr(trainer.stop, "is_asked", True)  # in the first step
    with each_forward(ask), pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert [path.name for path in complete_checkpoints(run.directory)] == ["checkpoint-00000001"]
    train(run)
    last = "checkpoint-00000006/model.safetensors"
    expected, found = load_file(whole / last), load_file(run.directory / last)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_run_is_not_resumed_with_other_settings(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=2)
    train(run)
    kept = (run.directory / "run.json").read_bytes()
    changed = replace(run, steps=4, optim=replace(run.optim, weight_decay=9.0))
    with pytest.raises(InputError, match=r"its run has optim\.weight_decay 0\.01, asked is 9\.0"):
        train(changed)
    with pytest.raises(InputError, match="is beyond the 1 steps asked for"):
        train(replace(run, steps=1))
    assert (run.directory / "run.json").read_bytes() == kept
    train(replace(run, steps=3, train=replace(run.train, log_every=2)))  # these may change
    assert complete_checkpoints(run.directory)[-1].name == "checkpoint-00000003"


def test_a_broken_held_out_image_is_reported(
    micro: Make, small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "world"
    shutil.copytree(small_world, root)
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=1)
    run = replace(run, data=replace(run.data, root=root))
    broken = build_experiment(run).task.held_out.records[0].path
    broken.write_bytes(b"not a picture")
    train(run)
    assert f"replaced: {broken}" in capsys.readouterr().out.replace("\n", "")
    assert broken.name in (run.directory / "bad_samples.jsonl").read_text()
    assert any(row["kind"] == "held_out" for row in read_journal(run.directory / "metrics.jsonl"))


def test_a_full_disk_costs_one_line_and_no_checkpoint(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=1)
    train(run)
    monkeypatch.setattr("vlp_fast.engine.checkpoint.save_file", full)
    with pytest.raises(InputError, match=r"checkpoint-00000002: cannot be written.*No space left"):
        train(replace(run, steps=2))
    assert [p.name for p in run.directory.glob("*checkpoint*")] == ["checkpoint-00000001"]
    assert not list(run.directory.glob(".*partial"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
@pytest.mark.parametrize("name", ["metrics.jsonl", "bad_samples.jsonl"])
def test_a_full_disk_while_a_line_is_written_is_one_line(
    micro: Make, tmp_path: Path, name: str
) -> None:
    trainer = Trainer(build_experiment(micro("e2e_vlp_tiny", tmp_path / "run", steps=1)))
    path = trainer.config.directory / name
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/full")
    with pytest.raises(InputError, match=rf"{name}: cannot be written \(No space left"):
        trainer.record.replaced(["a picture is broken"], trainer.step)
        trainer.run()


def test_a_broken_image_is_said_once_whatever_replaces_it(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run")
    trainer = Trainer(build_experiment(run))
    record = trainer.record
    record.replaced([f"a.png: broken; {other}.png is shown instead" for other in "bcd"], 0)
    record.replaced(["e.png: broken; b.png is shown instead", "f.png", "g.png", "g.png"], 0)
    rows = (run.directory / "bad_samples.jsonl").read_text().splitlines()
    assert [json.loads(row)["problem"][:5] for row in rows] == ["a.png", "e.png", "f.png", "g.png"]
