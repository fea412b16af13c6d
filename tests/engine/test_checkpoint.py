"""A checkpoint is complete or absent, whatever happens while it is written."""

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from vlp_fast import whole_file
from vlp_fast.engine import checkpoint as module
from vlp_fast.engine.checkpoint import (
    complete_checkpoints,
    delete_newer,
    load_checkpoint,
    load_model,
    newest_checkpoint,
    read_state,
    save_checkpoint,
)
from vlp_fast.engine.snapshot import HostMemory
from vlp_fast.errors import InputError
from vlp_fast.weights import checkpoints


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Net(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, width, 3)
        self.second = nn.Linear(width, width)
        self.tied = self.second.weight
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def trained(seed: int, steps: int = 2) -> tuple[Net, list[Optimizer]]:
    torch.manual_seed(seed)
    model = Net().to(memory_format=torch.channels_last)
    optimizers = [AdamW(model.second.parameters(), lr=0.1, betas=(0.7, 0.9)),
                  SGD(model.first.parameters(), lr=0.1, momentum=0.9)]  # fmt: skip
    for _ in range(steps):
        advance(model, optimizers)
    return model, optimizers


def advance(model: Net, optimizers: list[Optimizer]) -> None:
    model.second(model.first(torch.ones(1, 2, 4, 4)).mean((2, 3))).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    model.count += 1


@cache
def ready(seed: int) -> tuple[Net, list[Optimizer]]:
    """To be saved, not to be trained further."""
    return trained(seed)


def save(folder: Path, step: int, seed: int = 0, keep: int = 2, **more: object) -> Path:
    extra = {"n": 0.1 + step, "scaler": {}, **more}
    return save_checkpoint(folder, step, HostMemory().take(*ready(seed), extra), keep=keep)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def test_round_trip_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model, optimizers = trained(seed=1)
    snapshot = HostMemory().take(model, optimizers, {"scaler": {}})
    path = save_checkpoint(tmp_path, 7, snapshot, keep=1)
    again, others = trained(seed=2, steps=5)
    state = load_checkpoint(path, again, others)
    assert (state["step"], state["scaler"]) == (7, {})
    assert_same(model, again)
    for _ in range(3):
        advance(model, optimizers)
        advance(again, others)
    assert_same(model, again)
    assert others[0].param_groups[0]["lr"] == 0.1


def test_the_newest_stay(tmp_path: Path) -> None:
    for step in (5, 10, 99999999, 100000000):
        save(tmp_path, step, keep=2)
    found = [path.name for path in complete_checkpoints(tmp_path)]
    assert found == ["checkpoint-99999999", "checkpoint-100000000"]
    assert names_in(tmp_path) == sorted(found)


def test_one_that_no_setting_asked_for_replaces_none_and_goes_with_the_next(
    tmp_path: Path,
) -> None:
    found = []
    for step, is_due in enumerate((True, True, False, False, True, True), 1):
        save(tmp_path, step, keep=2, is_due=is_due)
        found.append([checkpoints.step_of(path) for path in complete_checkpoints(tmp_path)])
    assert found == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [2, 5], [5, 6]]


def test_all_that_are_newer_can_be_deleted(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        save(tmp_path, step, keep=9)
    flip(tmp_path / "checkpoint-00000008/model.safetensors")
    (tmp_path / "checkpoint-00000006/state.json").unlink()
    delete_newer(tmp_path / "checkpoint-00000002")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000002"]


def test_only_older_ones_are_deleted(tmp_path: Path) -> None:
    """A run that goes on from 200 because 300 and 350 are damaged keeps what it went on from."""
    for step in (200, 300, 350):
        save(tmp_path, step, keep=3)
    for step in (300, 350):
        flip(tmp_path / f"checkpoint-00000{step}/model.safetensors")
    written = save(tmp_path, 250, keep=2)
    found = [path.name[-3:] for path in complete_checkpoints(tmp_path)]
    assert found == ["200", "250", "300", "350"]
    assert newest_checkpoint(tmp_path) == written
    save(tmp_path, 260, keep=1)
    assert [path.name[-3:] for path in complete_checkpoints(tmp_path)] == ["260", "300", "350"]


def test_copies_under_other_names_are_the_users(tmp_path: Path) -> None:
    copies = ["checkpoint-00000001.bak", "checkpoint-best", "checkpoint-1", ".checkpoint-00000001"]
    for name in copies:
        shutil.copytree(save(tmp_path, 1), tmp_path / name)
    for step in (2, 3):
        save(tmp_path, step, keep=1)
    assert complete_checkpoints(tmp_path) == [tmp_path / "checkpoint-00000003"]
    assert names_in(tmp_path) == sorted([*copies, "checkpoint-00000003"])


OURS = {module.__file__, whole_file.__file__, shutil.__file__}


def is_killed(line: int, function: Callable[[], object]) -> bool:
    """Run a function, kill it before that line of the code above, and say whether it came there."""
    left = itertools.count(line, -1)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in OURS:
            return None
        if event == "line" and not next(left):
            raise Killed
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except (Killed, InputError):  # what shutil does while it is left may fail in its turn
        assert next(left) < 0
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("replaces", [False, True])
def test_a_kill_at_any_line_leaves_a_whole_one_and_later_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaces: bool
) -> None:
    """Of a save that deletes an older one, and perhaps replaces a damaged one."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    steps = []
    for line in itertools.count():
        folder = tmp_path / str(line)
        save(folder, 1, seed=1, keep=1)
        if replaces:
            flip(save(folder, 2, seed=2, keep=2) / "model.safetensors")
        was_killed = is_killed(line, partial(save, folder, 2, seed=2, keep=1))
        newest = newest_checkpoint(folder)
        assert newest is not None
        model, optimizers = trained(seed=9)
        steps.append(load_checkpoint(newest, model, optimizers)["step"])
        assert steps[-1] in ((1, 2) if was_killed else (2,))
        assert_same(model, ready(steps[-1])[0])
        save(folder, 3, seed=3, keep=1)
        assert names_in(folder) == ["checkpoint-00000003"]
        if not was_killed:
            break
    assert len(steps) > 60
    assert min(steps) == 1
    assert steps == sorted(steps)


def test_what_a_kill_of_another_step_left_is_deleted(tmp_path: Path) -> None:
    for name in (".checkpoint.partial", ".checkpoint.old"):
        shutil.copytree(save(tmp_path, 1), tmp_path / name)
    save(tmp_path, 7)
    assert names_in(tmp_path) == ["checkpoint-00000001", "checkpoint-00000007"]


def test_everything_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    for owner in (module, whole_file):
        monkeypatch.setattr(owner, "sync", lambda path: events.append(path.name))
    rename = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda self, to: (events.append(f"to {to.name}"), rename(self, to))
    )
    save(tmp_path, 1)
    assert events == [
        *("model.safetensors", "optimizer.safetensors", ".state.json.partial"),
        *(".checkpoint.partial", "to checkpoint-00000001", tmp_path.name),
    ]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    assert newest_checkpoint(tmp_path) == newer
    if name == "state.json" and damage is not Path.unlink:
        (newer / name).write_text((newer / name).read_text()[:-4])
    else:
        damage(newer / name)
    said: list[str] = []
    assert newest_checkpoint(tmp_path, said.append) == older
    assert said == [
        "damaged and passed over: checkpoint-00000002; the run goes on from checkpoint-00000001"
    ]
    assert save(tmp_path, 2) == newest_checkpoint(tmp_path)  # written anew


def test_checkpoints_that_are_all_damaged_are_an_input_error(tmp_path: Path) -> None:
    """Nobody wants to start at step 0 instead."""
    for step in (1, 2):
        flip(save(tmp_path, step) / "optimizer.safetensors")
    with pytest.raises(InputError, match=r"checkpoint-00000002: its files differ.*start anew"):
        newest_checkpoint(tmp_path)


def test_a_file_that_cannot_be_read_is_not_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    checksum = checkpoints.checksum_of

    def failing(path: Path) -> int:
        if path.parent == newer:
            raise OSError(5, "Input/output error")
        return checksum(path)

    monkeypatch.setattr(checkpoints, "checksum_of", failing)
    assert newest_checkpoint(tmp_path) == older


NONSENSE = ["[]", "{}", '{"files": 3}', '{"files": {}}', '{"files": {"a": 1}}', "", "\0"]


@pytest.mark.parametrize("content", NONSENSE)
def test_nonsense_is_no_checkpoint(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "checkpoint-00000004"
    folder.mkdir()
    (folder / "state.json").write_text(content)
    (tmp_path / "checkpoint-5").write_text("a file")
    assert complete_checkpoints(tmp_path) == []
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "absent") is None


FILES = {name: [0, 0] for name in ("model.safetensors", "optimizer.safetensors")}


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"/dev/zero": [0, 0]}},
        {"files": {"../other": [0, 0]}},
        {"files": {**FILES, "/dev/zero": [0, 0]}},
        {"files": {**FILES, "average.safetensors": [0, 0]}},
        {"files": {"optimizer.safetensors": [0, 0]}},
        {"files": {name: [0] for name in FILES}},
        {"step": None},
        {"step": "4"},
        {"step": 5},
        {"scaler": None},
        {"scaler": []},
        {"optimizers": {}},
    ],
)
@pytest.mark.parametrize("are_files_there", [True, False])
def test_state_json_is_not_believed(
    tmp_path: Path, change: dict[str, Any], are_files_there: bool
) -> None:
    path = tmp_path / "checkpoint-00000004"
    path.mkdir()
    (tmp_path / "other").write_text("")
    for name in FILES if are_files_there else ():
        (path / name).write_text("")
    whole = {"step": 4, "files": FILES, "optimizers": [], "scaler": {}}
    state = {name: value for name, value in {**whole, **change}.items() if value is not None}
    (path / "state.json").write_text(json.dumps(state))
    assert complete_checkpoints(tmp_path) == []
    assert newest_checkpoint(tmp_path) is None
    with pytest.raises(InputError, match="is no complete checkpoint"):
        read_state(path)
    (path / "state.json").write_text(json.dumps(whole))
    assert complete_checkpoints(tmp_path) == ([path] if are_files_there else [])


def test_saving_a_step_again_never_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path, 3)
    before = (path / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: pytest.fail("removed"))
    assert save(tmp_path, 3) == path
    assert (path / "model.safetensors").stat().st_mtime_ns == before


def test_another_model_is_an_input_error(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    wide = Net(width=5)
    with pytest.raises(InputError, match=r"holds another model \(size mismatch.*--run-dir") as info:
        load_checkpoint(path, wide, [])
    assert "\n" not in str(info.value)


class Complaining(nn.Module):
    def load_state_dict(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("not a second line")


def test_errors_of_one_line_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds another model \(not a second line\)"):
        load_model(save(tmp_path, 1), Complaining())


@pytest.mark.parametrize("damage", [truncate, Path.unlink, lambda path: path.write_bytes(b"junk")])
def test_a_model_that_cannot_be_read_is_an_input_error(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    path = save(tmp_path, 1)
    damage(path / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read") as info:
        load_model(path, Net())
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("numbers", [[], [{}] * 2, [None] * 2, [{"groups": [], "values": []}] * 2])
def test_other_optimisers_are_an_input_error(tmp_path: Path, numbers: list[Any]) -> None:
    path = save(tmp_path, 1)
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "optimizers": numbers}))
    with pytest.raises(InputError, match="holds other optimisers"):
        load_checkpoint(path, *trained(seed=2))
