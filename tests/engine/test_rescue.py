"""What ends a run early costs the step in progress and no more, and never saves half a step."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from spoilt_steps import each_forward
from torch.optim import Optimizer

from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.divergence import LAST_PATIENCE, PATIENCE, SCALED_PATIENCE, divergence
from vlp_fast.engine.failure import explained
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.stop import Stopped
from vlp_fast.engine.trainer import Trainer, train
from vlp_fast.errors import InputError
from vlp_fast.tasks.step import StepOutput

Make = Callable[..., RunConfig]
NO_MEMORY = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 9 bytes. Error code 12 (Cannot allocate memory)\nmore"
)


def steps(folder: Path) -> list[int]:
    return [int(path.name[-8:]) for path in complete_checkpoints(folder)]


def failing(call: int, error: Exception) -> contextlib.AbstractContextManager[None]:
    """The objective computes, and changes what a forward pass changes, but fails at this call."""

    def fail(number: int, _: StepOutput) -> None:
        if number == call:
            raise error

    return each_forward(fail)


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_a_step_that_fails_half_way_leaves_the_state_before_it(
    micro: Make, tmp_path: Path, name: str
) -> None:
    run = micro(name, tmp_path / "whole", steps=5, batch_size=3, checkpoint_every=4, log_every=10)
    run = replace(run, train=replace(run.train, shards=2))
    train(replace(run, train=replace(run.train, keep_checkpoints=9)))
    failed = replace(run, run_dir=tmp_path / "failed", steps=5)
    failed = replace(failed, train=replace(failed.train, checkpoint_every=0))
    with (
        failing(10, NO_MEMORY),
        pytest.raises(InputError, match=r"^after step 4: out of memory \("),
    ):
        train(failed)
    assert steps(failed.directory) == [4]
    for file in ("model.safetensors", "optimizer.safetensors"):
        a, b = (load_file(r.directory / "checkpoint-00000004" / file) for r in (run, failed))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), file
    found, expected = (read_journal(r.directory / "metrics.jsonl") for r in (failed, run))
    assert [(row["step"], row["loss"]) for row in found] == [
        (row["step"], row["loss"]) for row in expected if row["step"] <= 4
    ]


def test_between_two_optimisers_nothing_can_be_saved(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=4, checkpoint_every=2)
    with pytest.MonkeyPatch.context() as patch:
        calls = 0

        def step(scaler: Any, optimizer: Optimizer) -> None:
            nonlocal calls
            calls += 1
            if calls == 6:  # the third step's second optimiser
                raise ZeroDivisionError

        patch.setattr("torch.amp.grad_scaler.GradScaler.step", step)
        with pytest.raises(ZeroDivisionError):
            train(run)
    assert steps(run.directory) == [2]


def test_a_mistake_keeps_its_traceback_and_the_steps_before_it(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=4)
    with failing(3, ZeroDivisionError("a mistake")), pytest.raises(ZeroDivisionError):
        train(run)
    assert steps(run.directory) == [2]


@pytest.mark.dist
def test_a_killed_worker_costs_no_step(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=9, batch_size=2)
    run = replace(run, data=replace(run.data, num_workers=1))
    follow = Trainer._shards

    def deadly(self: Trainer, batches: Any) -> Any:
        if self.step == 3:
            for worker in multiprocessing.active_children():
                worker.kill()
        yield from follow(self, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_shards", deadly)
        with pytest.raises(InputError, match="a loading process was killed by SIGKILL"):
            train(run)
    assert steps(run.directory)[-1] in (3, 4, 5)  # two batches may have been on their way
    train(run)
    assert steps(run.directory)[-1] == 9


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_log_that_is_full_costs_no_step(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=4, log_every=3)
    path = run.directory / "metrics.jsonl"

    def fill(*_: object) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/full")

    with (
        each_forward(fill),
        pytest.raises(InputError, match=r"metrics\.jsonl: cannot be written \(No space left"),
    ):
        train(run)
    assert steps(run.directory) == [2]  # tagging ends there, with a line


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space")])
def test_an_output_that_fails_costs_no_step(micro: Make, tmp_path: Path, error: OSError) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=4, log_every=3)

    def fail(*_: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlp_fast.engine.progress.Display.log", fail)
        with pytest.raises(type(error)) as caught:
            train(run)
    assert caught.value is error
    assert steps(run.directory) == [2]


def test_a_state_after_a_skipped_step_is_rescued(micro: Make, tmp_path: Path) -> None:
    """The loss of step 3 is NaN, which no line has told yet when step 4 runs out of memory."""
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=6, log_every=100)

    def spoil(number: int, output: StepOutput) -> None:
        if number == 5:  # the fourth looks into the third
            raise MemoryError
        if number == 3:
            output.losses["itm"] = output.losses["itm"] * torch.nan

    with (
        each_forward(spoil),
        pytest.raises(InputError, match=r"after step 3: out of memory; free some"),
    ):
        train(run)
    assert steps(run.directory) == [3]
    state = json.loads((run.directory / "checkpoint-00000003/state.json").read_text())
    assert state["skipped_in_a_row"] == 1
    weights = load_file(run.directory / "checkpoint-00000003/model.safetensors")
    assert all(x.isfinite().all() for x in weights.values())


def poison(first: int, last: int) -> Any:
    """Gradients of these steps are NaN, their losses are not."""
    advance = Trainer._advance

    def poisoned(self: Trainer, batches: Any) -> None:
        weight = next(self.learner.parameters())
        handle = weight.register_hook(lambda gradient: gradient * torch.nan)
        if not first <= self.step < last:
            handle.remove()
        advance(self, batches)
        handle.remove()

    patch = pytest.MonkeyPatch()
    patch.setattr(Trainer, "_advance", poisoned)
    return patch


def test_gradients_that_are_never_finite_stop_the_run(micro: Make, tmp_path: Path) -> None:
    """Checkpoints of the last good steps stay, however many follow them before it is certain."""
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=30, batch_size=2, checkpoint_every=2)
    run = replace(run, train=replace(run.train, rollbacks=0))
    patch = poison(4, 30)
    try:
        with pytest.raises(
            InputError,
            match=r"step 13: the last 9 steps were skipped.*no checkpoint .* before.*--optim\.lr",
        ):
            train(replace(run, train=replace(run.train, keep_checkpoints=1)))
    finally:
        patch.undo()
    assert steps(run.directory)[0] == 4
    rows = read_journal(run.directory / "metrics.jsonl")
    assert rows[-1]["step"] == 13
    assert rows[-1]["gradient_norm"] is None
    assert "NaN" not in (run.directory / "metrics.jsonl").read_text()


def test_a_short_run_without_one_finite_gradient_fails(micro: Make, tmp_path: Path) -> None:
    """Where tagging ends: what follows would begin from weights that never moved."""
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=3, batch_size=2)
    patch = poison(0, 9)
    try:
        with pytest.raises(InputError, match=r"step 2: the last 2 steps were skipped"):
            train(run)
    finally:
        patch.undo()
    assert steps(run.directory) == []


def test_a_few_skipped_steps_do_not_stop_a_run(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=6, batch_size=2, checkpoint_every=2)
    patch = poison(2, 5)
    try:
        train(replace(run, train=replace(run.train, keep_checkpoints=1)))
    finally:
        patch.undo()
    assert steps(run.directory) == [6]


@pytest.mark.parametrize(
    ("patience", "scaled", "last", "whole"),
    [
        (PATIENCE, False, False, False),
        (PATIENCE, False, False, True),
        (LAST_PATIENCE, False, True, False),
        (0, False, True, True),
        (SCALED_PATIENCE, True, False, False),
        (SCALED_PATIENCE, True, True, True),
    ],
)
def test_loss_scaling_has_more_patience(
    patience: int, scaled: bool, last: bool, whole: bool
) -> None:
    ask = lambda skipped: divergence(skipped, is_scaled=scaled, is_last=last, is_whole_run=whole)
    assert not ask(0)
    assert not ask(patience)
    many = f"{patience + 1} steps were" if patience else "step was"
    assert ask(patience + 1).startswith(f"the last {many} skipped")
    assert SCALED_PATIENCE > 16 + 8  # from the first scale, 65536, to far below 1


def signalled(run: RunConfig, where: str, number: signal.Signals) -> None:
    """The run gets a signal in a function, which would go on for a minute.

    Whatever it was started by: `nohup` and a shell's `&` have some signals ignored.
    """

    def slow(*_: object, **__: object) -> dict[str, float]:
        os.kill(os.getpid(), number)
        for _ in range(600):
            time.sleep(0.1)
        return {}

    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, slow)
        before = signal.signal(number, signal.SIG_DFL)
        try:
            with pytest.raises(Stopped):
                train(run)
        finally:
            signal.signal(number, before)
    assert time.monotonic() - began < 40


def test_a_signal_in_an_evaluation_is_heard_and_the_evaluation_made_up_for(
    micro: Make, tmp_path: Path
) -> None:
    run = micro("soho_tiny", tmp_path / "run", steps=4, evaluate_every=3, log_every=9)
    train(replace(run, run_dir=tmp_path / "whole"))
    signalled(run, "vlp_fast.engine.trainer.evaluate", signal.SIGHUP)
    assert steps(run.directory) == [3]
    train(run)
    found, expected = (
        {(r["kind"], r["step"]): r["loss"] for r in read_journal(folder / "metrics.jsonl")}
        for folder in (run.directory, tmp_path / "whole")
    )
    assert ("held_out", 3) in expected
    assert {key: found[key] for key in expected if key[0] == "held_out"} == {
        key: loss for key, loss in expected.items() if key[0] == "held_out"
    }


def test_a_signal_while_the_dictionary_starts_is_heard(micro: Make, tmp_path: Path) -> None:
    run = micro("soho_tiny", tmp_path / "run", steps=4)
    signalled(run, "vlp_fast.tasks.pretraining.soho.start_codebook", signal.SIGTERM)
    assert steps(run.directory) == [2]


DEAF = """
import os, signal, sys, threading, time
import torch
from vlp_fast.engine.stop import StopRequest

times = int(sys.argv[1])
def press():
    for _ in range(times):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
with StopRequest() as stop:
    threading.Thread(target=press, daemon=True).start()
    print("begun", flush=True)
    if times == 1:
        time.sleep(2)
    else:  # one call of minutes, in which Python runs no handler
        torch.linalg.svd(torch.rand(9000, 9000))
print("finished", stop.is_asked, flush=True)
"""


@pytest.mark.dist
@pytest.mark.parametrize(("times", "code", "out"), [(1, 0, "finished True\n"), (2, 130, "")])
def test_a_signal_is_told_at_once_and_a_second_one_ends_at_once(
    times: int, code: int, out: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF, str(times)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "begun\n"
    began = time.monotonic()
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline().startswith("vlp-fast: stopping after this step")
    found, _ = process.communicate(timeout=120)
    assert (process.returncode, found) == (code, out)
    assert time.monotonic() - began < 45


def test_one_value_for_batch_norm_is_one_line() -> None:
    norm = torch.nn.BatchNorm2d(4)
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        norm(torch.zeros(1, 4, 1, 1))
    error = explained(caught.value, 7)
    assert isinstance(error, InputError)
    assert str(error) == (
        "after step 7: batch norm has one value a channel, of which there is no variance (got "
        "input size torch.Size([1, 4, 1, 1])); raise --train.batch-size or --data.shorter"
    )


@pytest.mark.parametrize(
    "error", [NO_MEMORY, MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")]
)
def test_no_memory_is_one_line(error: Exception) -> None:
    found = explained(error, 3)
    assert isinstance(found, InputError)
    assert "\n" not in str(found)
    assert "--train.batch-size" in str(found)
    other = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert explained(other, 3) is other
