"""The best checkpoint by a held-out figure stays, and is a run folder of its own."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from system_faults import FULL, IO, READ_ONLY, Faults, Killed
from torch import nn

from vlp_fast.cli.evaluate import run as evaluate
from vlp_fast.engine.best import Best
from vlp_fast.engine.checkpoint import complete_checkpoints, newest_checkpoint, save_checkpoint
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.snapshot import HostMemory
from vlp_fast.engine.trainer import train
from vlp_fast.errors import InputError
from vlp_fast.weights.own import weights_in

Make = Callable[..., RunConfig]


def save(folder: Path, step: int) -> None:
    snapshot = HostMemory().take(nn.Linear(2, 2), [], {"scaler": {}})
    save_checkpoint(folder, step, snapshot, keep=1)


def shown(best: Best, folder: Path, step: int, **figures: float) -> bool:
    """As a run does; whether it was kept."""
    if is_best := best.is_beaten_by(step, figures):
        save(folder, step)
        best.keep(step, figures)
    return is_best


def steps(folder: Path) -> list[int]:
    return [int(path.name[-8:]) for path in complete_checkpoints(folder)]


@pytest.mark.parametrize(
    ("asked", "figure", "expected"),
    [
        ("accuracy", "accuracy", [True, True, False, False, True]),
        ("loss", "loss", [True, False, True, False, False]),
        ("itm_loss", "itm_loss", [True, False, True, False, False]),
        ("-itm", "itm", [True, False, True, False, False]),
        ("", "loss", [False] * 5),
    ],
)
def test_higher_is_better_but_of_losses(
    tmp_path: Path, asked: str, figure: str, expected: list[bool]
) -> None:
    best = Best(tmp_path, asked)
    values = (0.5, 0.7, 0.2, float("nan"), 0.9)
    found = [shown(best, tmp_path, i, **{figure: x}) for i, x in enumerate(values, 1)]
    assert found == expected
    kept = [5] if expected[4] else [3] if expected[2] else []
    assert steps(tmp_path / "best") == kept
    for step in kept:
        record = json.loads((tmp_path / f"best/checkpoint-0000000{step}/best.json").read_text())
        assert record == {"figure": figure, "value": values[step - 1], "step": step}


def test_it_stays_without_a_second_copy(tmp_path: Path) -> None:
    best = Best(tmp_path, "accuracy")
    shown(best, tmp_path, 1, accuracy=0.5)
    name = "checkpoint-00000001/model.safetensors"
    assert (tmp_path / name).samefile(tmp_path / "best" / name)
    save(tmp_path, 2)
    assert (steps(tmp_path), steps(tmp_path / "best")) == ([2], [1])


def test_where_there_are_no_links_it_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    shown(Best(tmp_path, "accuracy"), tmp_path, 1, accuracy=0.5)
    assert newest_checkpoint(tmp_path / "best") == tmp_path / "best/checkpoint-00000001"


def test_after_a_rollback_steps_are_told_apart_by_the_samples_before_them(tmp_path: Path) -> None:
    best = Best(tmp_path, "accuracy")
    shown(best, tmp_path, 7, accuracy=0.5)
    assert not best.is_beaten_by(4, {"accuracy": 0.4}, ahead=5)  # it went back, to step 2
    save(tmp_path, 6)
    best.keep(6, {"accuracy": 0.9}, ahead=5)
    assert not best.is_beaten_by(8, {"accuracy": 0.8}, ahead=5)
    assert best.is_beaten_by(5, {"accuracy": 0.6}, ahead=5)  # resumed, before it comes again


def test_what_a_later_step_had_is_of_another_run(tmp_path: Path) -> None:
    """Somebody has deleted the checkpoints, and begins anew in the same folder."""
    shown(Best(tmp_path, "accuracy"), tmp_path, 7, accuracy=0.9)
    assert shown(Best(tmp_path, "accuracy"), tmp_path, 3, accuracy=0.1)
    assert steps(tmp_path / "best") == [3]


@pytest.mark.parametrize(
    ("error", "is_lasting"), [(IO, False), (FULL, True), (READ_ONLY, True), (Killed(), True)]
)
def test_any_call_that_fails_leaves_one_that_is_whole(
    tmp_path: Path, error: BaseException, is_lasting: bool
) -> None:
    found = []
    for number in range(200):
        folder = tmp_path / str(number)
        best = Best(folder, "accuracy")
        shown(best, folder, 1, accuracy=0.5)
        save(folder, 2)
        (folder / "vocab.txt").write_text("word")
        faults = Faults(number, error, is_lasting=is_lasting)
        with faults.injected():
            try:
                best.keep(2, {"accuracy": 0.6})
            except (InputError, Killed) as told:
                assert isinstance(told, Killed) == isinstance(error, Killed)
        newest = newest_checkpoint(folder / "best")
        assert newest is not None
        found.append(json.loads((newest / "best.json").read_text())["step"])
        assert shown(best, folder, 3, accuracy=0.7)
        assert [path.name for path in (folder / "best").glob("*check*")] == ["checkpoint-00000003"]
        if faults.count <= number:
            break
    assert faults.count <= number
    assert len(found) > 15
    assert (min(found), found[-1]) == (1, 2)


def test_a_run_keeps_its_best_state_and_every_command_takes_it(
    micro: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=4, evaluate_every=1, log_every=2)
    run = replace(run, train=replace(run.train, keep_best="-gradient", keep_checkpoints=1))
    with pytest.raises(InputError, match=r"--train\.keep-best gradient: the held-out .* loss") as e:
        train(run)
    assert "\n" not in str(e.value)
    run = replace(run, train=replace(run.train, keep_best="loss"))
    train(run)
    rows = read_journal(run.directory / "metrics.jsonl")
    losses = {row["step"]: row["loss"] for row in rows if row["kind"] == "held_out"}
    assert losses.keys() == {1, 2, 3, 4}  # the step with the unknown name is made up for
    step = min(losses, key=losses.__getitem__)
    best = run.directory / "best"
    assert (steps(best), steps(run.directory)) == ([step], [4])
    file = weights_in(best)
    assert file == best / f"checkpoint-0000000{step}/model.safetensors"
    assert all(torch.isfinite(x).all() for x in load_file(file).values() if x.is_floating_point())
    capsys.readouterr()
    assert evaluate([str(best)]) == 0
    printed = [
        line.split()[1] for line in capsys.readouterr().out.split("\n") if line[:5] == "loss "
    ]
    assert printed == [f"{losses[step]:.4f}"]
