"""A checkpoint is complete or absent, whatever happens while it is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from vlp_fast.engine import checkpoint as module
from vlp_fast.engine.checkpoint import (
    complete_checkpoints,
    load_backbone,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    write_json,
)
from vlp_fast.errors import InputError


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


def save(folder: Path, step: int, seed: int = 0, keep: int = 2) -> Path:
    model, optimizers = trained(seed)
    return save_checkpoint(folder, step, model, optimizers, extra={"n": 0.1 + step}, keep=keep)


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def test_round_trip_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model, optimizers = trained(seed=1)
    path = save_checkpoint(tmp_path, 7, model, optimizers, extra={"scaler": {}}, keep=1)
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
    for step in (5, 10, 15, 100000000):
        save(tmp_path, step, keep=2)
    found = [path.name for path in complete_checkpoints(tmp_path)]
    assert found == ["checkpoint-00000015", "checkpoint-100000000"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(found)


WRITES = ["mkdir", "save_file", "_sync", "_checksum", "write_json", "rename", "rmtree"]


@pytest.mark.parametrize("step_of_writing", WRITES)
@pytest.mark.parametrize("call", [0, 1, 2, 3])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_point_leaves_the_newest_complete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_of_writing: str, call: int, when: str
) -> None:
    save(tmp_path, 1, seed=1, keep=1)
    remaining = [call]

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            remaining[0] -= 1
            if remaining[0] == -1 and when == "before":
                raise Killed
            result = function(*arguments, **options)
            if remaining[0] == -1:
                raise Killed
            return result

        return wrapper

    owner: Any = {"mkdir": Path, "rename": Path, "rmtree": shutil}.get(step_of_writing, module)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step_of_writing, deadly(getattr(owner, step_of_writing)))
        try:
            save(tmp_path, 2, seed=2, keep=1)
            killed = False
        except Killed:
            killed = True
    newest = newest_checkpoint(tmp_path)
    assert newest is not None
    model, optimizers = trained(seed=9)
    step = load_checkpoint(newest, model, optimizers)["step"]
    assert step == (2 if not killed else step)
    assert_same(model, trained(seed=step)[0])
    save(tmp_path, 2, seed=2, keep=1)  # what was left behind is in nobody's way
    save(tmp_path, 3, seed=3, keep=1)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-00000003"]


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
    assert newest_checkpoint(tmp_path) == older
    assert save(tmp_path, 2) == newest_checkpoint(tmp_path)  # written anew


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


def test_json_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": 1, "path": Path("x")})

    def kill(_: Path) -> None:
        raise Killed

    monkeypatch.setattr(module, "_sync", kill)
    with pytest.raises(Killed):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1, "path": "x"}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_backbone_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    source, target = nn.Sequential(nn.Conv2d(2, 3, 1)), nn.Sequential(nn.Conv2d(2, 3, 1))
    state = {**source.state_dict(), "fc.weight": torch.ones(2)}
    path = tmp_path / f"resnet{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    load_backbone(path, target)
    assert torch.equal(target[0].weight, source[0].weight)
    with pytest.raises(InputError, match=r"2 tensors differ, the first is 1\.bias"):
        load_backbone(path, nn.Sequential(nn.Conv2d(2, 3, 1), nn.Linear(1, 1)))
    with pytest.raises(InputError, match=r"2 tensors differ, the first is 0\.bias"):
        load_backbone(path, nn.Sequential())  # a deeper network's weights
    with pytest.raises(InputError, match="no such file"):
        load_backbone(tmp_path / "absent.pth", target)
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match="not a readable state dict"):
        load_backbone(path, target)
