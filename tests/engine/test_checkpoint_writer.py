"""A checkpoint is of the moment in which it was asked for, and what its thread meets is told."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import AdamW, Optimizer

from vlp_fast.engine import checkpoint as module
from vlp_fast.engine.checkpoint import complete_checkpoints, load_checkpoint, newest_checkpoint
from vlp_fast.engine.checkpoint_writer import CheckpointWriter
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.snapshot import HostMemory
from vlp_fast.engine.trainer import train
from vlp_fast.errors import InputError

Make = Callable[..., RunConfig]
FULL = OSError(28, "No space left on device")


def trained(seed: int) -> tuple[nn.Module, list[Optimizer]]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizer = AdamW(model.parameters(), lr=0.1)
    advance(model, [optimizer])
    return model, [optimizer]


def advance(model: nn.Module, optimizers: list[Optimizer]) -> None:
    model(torch.randn(8, 4)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()


def save(writer: CheckpointWriter, step: int, *trained: Any, keep: int = 2) -> None:
    writer.save(step, *trained, extra={"scaler": {}, "list": []}, keep=keep)


def steps(folder: Path) -> list[int]:
    return [int(path.name[-8:]) for path in complete_checkpoints(folder)]


class Gate:
    """Holds the writing of files while it is closed; `errors` are raised in their place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = threading.Event()
        self.reached = threading.Event()
        self.errors: list[Exception] = []
        self._write = module.save_file
        monkeypatch.setattr(module, "save_file", self._pass)

    def open_later(self) -> None:
        threading.Timer(0.5, self.is_open.set).start()

    def _pass(self, *words: Any) -> None:
        self.reached.set()
        assert self.is_open.wait(60)
        if self.errors:
            raise self.errors.pop(0)
        self._write(*words)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_a_checkpoint_is_of_the_moment_in_which_it_was_asked_for(
    tmp_path: Path, gate: Gate
) -> None:
    """Model, optimisers and json values go on changing before the first byte is written."""
    model, optimizers = trained(1)
    before, state = trained(1)
    writer = CheckpointWriter(tmp_path)
    extra = {"scaler": {}, "list": [1]}
    writer.save(5, model, optimizers, extra=extra, keep=2)
    extra["list"].append(2)  # type: ignore[attr-defined]
    assert gate.reached.wait(60)
    for _ in range(3):
        advance(model, optimizers)
    optimizers[0].param_groups[0]["lr"] = 7.0
    assert newest_checkpoint(tmp_path) is None
    gate.is_open.set()
    writer.join()
    again, others = trained(2)
    found = load_checkpoint(tmp_path / "checkpoint-00000005", again, others)
    assert (found["list"], found["optimizers"][0]["groups"][0]["lr"]) == ([1], 0.1)
    assert all(torch.equal(x, again.state_dict()[name]) for name, x in before.state_dict().items())
    for then, now in zip(state[0].state.values(), others[0].state.values(), strict=True):
        assert all(torch.equal(value, now[name]) for name, value in then.items())


def test_the_next_save_waits_for_the_one_before(tmp_path: Path, gate: Gate) -> None:
    """Whose memory it takes."""
    writer = CheckpointWriter(tmp_path)
    first, second = trained(1), trained(2)
    save(writer, 1, *first)
    gate.open_later()
    save(writer, 2, *second)
    assert 1 in steps(tmp_path)
    writer.join()
    for step, (model, _) in ((1, first), (2, second)):
        file = load_file(tmp_path / f"checkpoint-0000000{step}/model.safetensors")
        assert all(torch.equal(file[name], x) for name, x in model.state_dict().items())


def test_an_old_one_stays_until_the_new_one_is_there(tmp_path: Path, gate: Gate) -> None:
    writer = CheckpointWriter(tmp_path)
    gate.is_open.set()
    save(writer, 1, *trained(1), keep=1)
    writer.join()
    gate.is_open.clear()
    gate.errors = [FULL]
    save(writer, 2, *trained(2), keep=1)
    assert steps(tmp_path) == [1]
    gate.is_open.set()
    with pytest.raises(InputError, match=r"checkpoint-00000002: cannot be written .*No space left"):
        writer.join()
    assert steps(tmp_path) == [1]
    writer.join()  # an error is told once
    save(writer, 3, *trained(3), keep=1)
    writer.join()
    assert steps(tmp_path) == [3]


@pytest.mark.parametrize("ask", ["save", "join", "check"])
@pytest.mark.parametrize("error", [FULL, MemoryError(), ZeroDivisionError("a mistake")])
def test_an_error_of_the_thread_is_told_to_whoever_comes_next(
    tmp_path: Path, gate: Gate, ask: str, error: Exception
) -> None:
    writer = CheckpointWriter(tmp_path)
    gate.errors = [error]
    gate.is_open.set()
    save(writer, 1, *trained(1))
    writer.wait()
    with pytest.raises(InputError if error is FULL else type(error)):
        save(writer, 2, *trained(2)) if ask == "save" else getattr(writer, ask)()
    assert steps(tmp_path) == []


def test_memory_is_taken_once_unless_something_has_another_shape() -> None:
    memory = HostMemory()
    one = memory.take(*trained(1), {}).files
    two = memory.take(*trained(2), {}).files
    other = memory.take(nn.Linear(3, 3), [], {}).files
    assert one.keys() == two.keys() == other.keys()
    for file, values in one.items():
        assert values.keys() == two[file].keys()
        assert all(x.data_ptr() == two[file][name].data_ptr() for name, x in values.items())
    assert {name: x.shape for name, x in other["model.safetensors"].items()} == {
        "weight": (3, 3),
        "bias": (3,),
    }
    assert other["optimizer.safetensors"] == {}


def test_a_disk_that_was_full_for_a_moment_costs_a_line_and_no_step(
    micro: Make, tmp_path: Path, gate: Gate
) -> None:
    """The run ends at the next line, and the state that it has reached by then is saved."""
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=9, checkpoint_every=2)
    gate.errors = [FULL]
    gate.is_open.set()
    with pytest.raises(InputError, match=r"checkpoint-00000002: cannot be written"):
        train(run)
    assert steps(run.directory)[0] in (3, 4)
    train(run)
    assert steps(run.directory)[-1] == 9


def test_a_write_that_failed_is_told_where_something_else_ends_the_run(
    micro: Make, tmp_path: Path, gate: Gate, capsys: pytest.CaptureFixture[str]
) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=3)
    gate.errors = [FULL]

    def fail(*_: object) -> None:
        gate.open_later()
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlp_fast.engine.trainer.evaluate", fail)
        with pytest.raises(ZeroDivisionError):
            train(run)
    said = capsys.readouterr().out.replace("\n", "")
    assert "checkpoint-00000003: cannot be written" in said
    assert "saved step 3" in said
    assert steps(run.directory) == [3]  # by a second try


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_run_ends_when_what_it_saved_is_on_disk(
    micro: Make, tmp_path: Path, gate: Gate, error: type[BaseException]
) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=3)
    found: list[list[int]] = []

    def fail(*_: object) -> None:
        found.append(steps(run.directory))
        gate.open_later()
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlp_fast.engine.trainer.evaluate", fail)
        patch.setattr(
            "vlp_fast.engine.folder_lock.FolderLock.__exit__",
            lambda *_: found.append(steps(run.directory)),
        )
        with pytest.raises(error):
            train(run)
    assert found == [[], [3]]
