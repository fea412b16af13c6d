"""Whatever call to the system fails or is the last one, the newest checkpoint is whole."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from system_faults import FULL, IO, READ_ONLY, Faults, Killed
from torch import nn

from vlp_fast.engine.checkpoint import load_model, newest_checkpoint
from vlp_fast.engine.checkpoint_writer import CheckpointWriter
from vlp_fast.errors import InputError


def save(folder: Path, step: int, keep: int = 1) -> None:
    """A checkpoint that shows of which step it is; state.json is its largest file."""
    writer = CheckpointWriter(folder)
    extra = {"scaler": {}, "words": "of a thousand letters" * 50}
    writer.save(step, net(step), [], extra=extra, keep=keep)
    writer.join()


def net(step: int) -> nn.Module:
    model = nn.Linear(4, 4)
    nn.init.constant_(model.weight, step)
    return model


def step_on_disk(folder: Path) -> int:
    """Of the newest checkpoint, which holds what was saved then."""
    found = newest_checkpoint(folder)
    assert found is not None
    model = nn.Linear(4, 4)
    load_model(found, model)
    step = int(found.name[-8:])
    assert torch.equal(model.weight, net(step).weight)
    return step


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


KINDS = [(IO, False), (FULL, True), (READ_ONLY, True), (Killed(), True)]


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize(("error", "is_lasting"), KINDS)
def test_any_call_that_fails_leaves_a_whole_one_and_no_trace(
    tmp_path: Path, error: BaseException, is_lasting: bool, replaces: bool
) -> None:
    """Of a save that deletes an older checkpoint, and perhaps replaces a damaged one."""
    found = []
    for number in range(200):
        folder = tmp_path / str(number)
        save(folder, 1)
        if replaces:
            save(folder, 2, keep=2)
            flip(folder / "checkpoint-00000002/model.safetensors")
        shutil.copytree(folder / "checkpoint-00000001", folder / ".checkpoint.partial")
        faults = Faults(number, error, is_lasting=is_lasting)
        is_told = False
        with faults.injected():
            try:
                save(folder, 2)
            except (InputError, Killed) as told:
                is_told = isinstance(told, Killed) or "cannot be written" in str(told)
                assert is_told
                assert isinstance(told, Killed) == isinstance(error, Killed)
        found.append(step_on_disk(folder))
        assert found[-1] in ((1, 2) if is_told else (2,))
        save(folder, 3)
        assert step_on_disk(folder) == 3
        assert [path.name for path in folder.iterdir()] == ["checkpoint-00000003"]
        if faults.count <= number:
            break
    assert faults.count <= number
    assert len(found) > 20
    assert min(found) == 1
    assert found[-1] == 2


@pytest.mark.parametrize("limit", [0, 60, 120, 500])
def test_a_file_that_may_not_grow_is_one_line(tmp_path: Path, limit: int) -> None:
    """What a quota does; a full disk says so by the same calls."""
    folder = tmp_path / "run"
    save(folder, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert (folder / "checkpoint-00000001/state.json").stat().st_size > limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match=r"checkpoint-00000002: cannot be written \(.*free"):
            save(folder, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-00000001"]
    save(folder, 3)
    assert step_on_disk(folder) == 3


def test_a_file_under_our_name_is_no_obstacle(tmp_path: Path) -> None:
    save(tmp_path, 1)
    for name in (".checkpoint.partial", ".checkpoint.old"):
        (tmp_path / name).write_text("whatever")
    save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000002"]


SAVER = """
import os, random, signal, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from test_checkpoint_faults import save, step_on_disk

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
random.seed(7)
save(folder, 1)
least = 1
for _ in range(rounds):
    child = os.fork()
    if not child:
        for step in range(least + 1, 10**6):
            save(folder, step)
    time.sleep(random.uniform(0.01, 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = step_on_disk(folder)
    assert found >= least, (found, least)
    least = found
print(least)
"""


@pytest.mark.dist
@pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_a_kill_at_any_time_costs_no_checkpoint_that_was_there(tmp_path: Path, rounds: int) -> None:
    words = [str(tmp_path / "run"), str(rounds), *map(str, Path(__file__).parents[:2])]
    done = subprocess.run(
        [sys.executable, "-c", SAVER, *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > rounds
