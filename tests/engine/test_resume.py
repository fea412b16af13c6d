"""A resumed run equals the uninterrupted one bit for bit; a refused one leaves the folder alone."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import (
    RECIPES,
    Killed,
    assert_same_tensors,
    figures,
    kill_at,
)
from safetensors.torch import load_file
from spoilt_steps import each_forward

from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.optim import clip_gradients
from vlp_fast.engine.stop import Stopped, StopRequest
from vlp_fast.engine.trainer import Trainer, train
from vlp_fast.engine.updater import shard_seed
from vlp_fast.errors import InputError
from vlp_fast.tasks.step import StepOutput

Make = Callable[..., RunConfig]


@pytest.fixture(scope="session", params=RECIPES)
def whole(request: pytest.FixtureRequest, micro: Make, once: Callable[..., Path]) -> RunConfig:
    """An uninterrupted run of six steps; to be read only."""
    settings = {"checkpoint_every": 3, "evaluate_every": 3, "keep_checkpoints": 5}
    run_in = lambda folder: micro(request.param, folder / "run", **settings)
    return run_in(once(f"whole-{request.param}", lambda folder: train(run_in(folder))))


@pytest.mark.parametrize("killed_at", [1, 3, 5])
def test_equals_the_uninterrupted_run(
    whole: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    run = replace(whole, run_dir=tmp_path / "run")
    with monkeypatch.context() as patch:
        kill_at(patch, killed_at)
        with pytest.raises(Killed):
            train(run)
    done = [int(path.name[-8:]) for path in complete_checkpoints(run.directory)]
    assert done == ([3] if killed_at >= 3 else [])
    train(run)
    assert_same_tensors(whole.directory, run.directory)
    assert figures(run.directory) == figures(whole.directory)


def test_the_dictionary_and_every_parameter_moved(whole: RunConfig) -> None:
    first, last = (
        load_file(path / "model.safetensors") for path in complete_checkpoints(whole.directory)
    )
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    if whole.name == "soho_tiny":
        assert {"model.dictionary.embed", "model.dictionary.cluster_size"} <= moved
    assert sum("encoder" in name for name in moved) > 10
    assert len(moved) > 0.7 * len(first)


def test_lines_do_not_depend_on_where_the_run_was_interrupted(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averages are cut at checkpoints and where tagging ends: both runs average the same steps."""
    runs = [
        micro("e2e_vlp_tiny", tmp_path / name, log_every=4, checkpoint_every=3) for name in "ab"
    ]
    train(runs[0])
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            train(runs[1])
    train(runs[1])
    rows = figures(runs[0].directory)
    assert rows == figures(runs[1].directory)
    assert [row["step"] for row in rows if row["kind"] == "train"] == [2, 3, 4, 6]


@pytest.mark.parametrize("how", ["before a line", "at a line", "at a line, which fails"])
def test_lines_of_a_run_that_was_stopped_are_those_of_one_that_was_not(
    micro: Make, once: Callable[..., Path], tmp_path: Path, how: str
) -> None:
    """Steps whose line was not due, or could not be written, are in the one that follows."""
    of = lambda folder: micro("e2e_vlp_tiny", folder / "run", log_every=4, batch_size=3)
    whole, run = of(once("lines", lambda folder: train(of(folder)))), of(tmp_path)
    stop_at = 3 if how == "before a line" else 4
    with pytest.MonkeyPatch.context() as patch:
        calls = iter(range(1, 99))

        def check(_: StopRequest) -> None:
            if next(calls) == stop_at:
                if "fails" in how:  # as where other processes are gone
                    patch.setattr(Trainer, "_log", lambda _: 1 / 0)
                raise Stopped(15)

        patch.setattr(StopRequest, "check", check)
        with pytest.raises(Stopped):
            train(run)
    assert [path.name[-1] for path in complete_checkpoints(run.directory)] == [str(stop_at)]
    told = [row["step"] for row in figures(run.directory)]
    assert told == {"before a line": [2, 3], "at a line": [2, 4]}.get(how, [2])
    train(run)
    assert figures(run.directory) == figures(whole.directory)
    assert_same_tensors(whole.directory, run.directory)


def test_worker_processes_change_nothing(whole: RunConfig, tmp_path: Path) -> None:
    run = replace(
        whole, run_dir=tmp_path / "run", data=replace(whole.data, num_workers=1, cache=False)
    )
    train(run)
    assert figures(run.directory) == figures(whole.directory)


def test_another_seed_is_another_run(whole: RunConfig, tmp_path: Path) -> None:
    run = replace(whole, run_dir=tmp_path / "run", train=replace(whole.train, seed=1))
    train(run)
    assert figures(run.directory)[0]["loss"] != figures(whole.directory)[0]["loss"]


def test_a_finished_run_is_left_as_it_is(whole: RunConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.directory, tmp_path / "run")
    before = figures(folder)
    train(replace(whole, run_dir=folder))
    assert_same_tensors(whole.directory, folder)
    assert figures(folder) == before


def damage(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)


def test_a_damaged_newest_checkpoint_is_passed_over_and_told(
    whole: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(whole.directory, tmp_path / "run")
    damage(complete_checkpoints(folder)[-1])
    train(replace(whole, run_dir=folder))
    assert_same_tensors(whole.directory, folder)
    assert figures(folder) == figures(whole.directory)
    said = "passed over: checkpoint-00000006; the run goes on from checkpoint-00000003\n"
    assert capsys.readouterr().out.count(said) == 1


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(
    whole: RunConfig, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole.directory, tmp_path / "run")
    for path in complete_checkpoints(folder):
        damage(path)
    before = snapshot(folder)
    with pytest.raises(InputError, match=r"checkpoint-00000006: its files differ"):
        train(replace(whole, run_dir=folder))
    assert snapshot(folder) == before


def test_loss_scaling_that_is_not_there_is_an_input_error(whole: RunConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(whole.directory, tmp_path / "run")
    path = complete_checkpoints(folder)[-1] / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scaler": {"scale": 8.0}}))
    with pytest.raises(InputError, match=r"checkpoint-00000006: its loss scaling is unreadable"):
        train(in_half_precision(whole, folder))


def test_loss_scaling_starts_anew_where_there_was_none(whole: RunConfig, tmp_path: Path) -> None:
    """Begun in float32 or bfloat16, gone on with in float16: a scale of 1 would lose gradients."""
    folder = shutil.copytree(whole.directory, tmp_path / "run")
    trainer = Trainer(build_experiment(in_half_precision(whole, folder)))
    assert trainer.step == 6
    assert trainer.updater.scaler.get_scale() == 65536


def in_half_precision(run: RunConfig, folder: Path) -> RunConfig:
    return replace(run, run_dir=folder, train=replace(run.train, precision="fp16"))


def first_step(run: RunConfig) -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(build_experiment(run))
    trainer._prepare()
    return trainer


def test_gradients_of_shards_are_averaged(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=2, precision="fp32")
    run = replace(run, train=replace(run.train, shards=2))
    found: dict[str, torch.Tensor] = {}
    trainer = first_step(run)

    def noted(parameters: Any, norm: float, **rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        named = trainer.learner.named_parameters()
        found.update({n: p.grad.clone() for n, p in named if p.grad is not None})
        return clip_gradients(parameters, norm, **rest)

    monkeypatch.setattr("vlp_fast.engine.updater.clip_gradients", noted)
    trainer._advance(trainer.experiment.batches(0, 1))

    trainer = first_step(replace(run, run_dir=tmp_path / "again"))
    expected = {n: torch.zeros_like(p) for n, p in trainer.learner.named_parameters()}
    for number, (_, inputs) in enumerate(trainer.experiment.batches(0, 1)):
        torch.manual_seed(shard_seed(run.train.seed, 0, number))
        trainer.learner.zero_grad()
        (trainer.learner(trainer.experiment.phase(0).objective, inputs).total / 2).backward()
        for name, parameter in trainer.learner.named_parameters():
            if parameter.grad is not None:
                expected[name] += parameter.grad
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert sum(bool(value.any()) for value in found.values()) > 50


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_another_model_in_the_folder_is_refused_and_nothing_changes(
    whole: RunConfig, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole.directory, tmp_path / "run")
    before = snapshot(folder)
    run = replace(whole, run_dir=folder, model=replace(whole.model, ffn_dim=96))
    with pytest.raises(InputError, match=r"checkpoint-00000006: holds another model"):
        train(run)
    assert snapshot(folder) == before


def test_a_used_folder_is_refused_where_nothing_may_be_resumed(
    whole: RunConfig, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole.directory, tmp_path / "run")
    before = snapshot(folder)
    with pytest.raises(InputError, match="holds checkpoints of an earlier run"):
        train(replace(whole, run_dir=folder, resume="never"))
    assert snapshot(folder) == before


def test_a_loss_that_is_not_finite_costs_its_step_and_no_line(micro: Make, tmp_path: Path) -> None:
    """The third step of four has one: the means of its line are those of the fourth."""
    rows, losses = [], []
    for folder, is_broken in (("whole", False), ("broken", True)):
        run = micro("e2e_vlp_tiny", tmp_path / folder, steps=4, batch_size=3, log_every=100)

        def change(number: int, output: StepOutput, is_broken: bool = is_broken) -> None:
            losses.append(float(output.total.detach()))
            if number == 3 and is_broken:
                output.losses["itm"] = output.losses["itm"] * torch.nan

        with each_forward(change):
            train(run)
        rows.append(figures(run.directory)[1])
    whole, broken = rows
    assert broken["skipped_steps"] == 0.5
    assert broken["loss"] == pytest.approx(losses[-1], rel=1e-6)
    assert whole["loss"] == pytest.approx(sum(losses[2:4]) / 2, rel=1e-6)
    assert "skipped_steps" not in whole
