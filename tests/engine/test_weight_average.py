"""The average of the weights: what it is of, who takes it, and that training does not notice."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import Killed, figures, kill_at
from safetensors.torch import load_file
from spoilt_steps import each_forward
from torch import Tensor, nn

from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.dry_run import dry_run
from vlp_fast.engine.evaluator import evaluate
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.restore import restore_experiment
from vlp_fast.engine.trainer import Trainer, train
from vlp_fast.engine.weight_average import WeightAverage
from vlp_fast.tasks.step import StepOutput
from vlp_fast.weights.checkpoints import AVERAGE, MODEL, newest_checkpoint
from vlp_fast.weights.own import weights_in

Make = Callable[..., RunConfig]
DECAY = 0.8
FILES = (MODEL, "optimizer.safetensors", AVERAGE)


def file(run: RunConfig, step: int, name: str) -> dict[str, Tensor]:
    return load_file(run.directory / f"checkpoint-{step:08d}" / name)


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert not [name for name, value in first.items() if not torch.equal(value, second[name])]


def parameters(run: RunConfig) -> set[str]:
    return {name for name, _ in build_experiment(run).learner.named_parameters()}


@pytest.fixture(scope="session")
def averaged(micro: Make, once: Callable[..., Path]) -> RunConfig:
    """A run of four steps, all of them saved; to be read only."""
    settings = {"checkpoint_every": 1, "evaluate_every": 2, "keep_checkpoints": 9, "ema": DECAY}
    run_in = lambda folder: micro("soho_tiny", folder / "run", steps=4, **settings)
    return run_in(once("averaged", lambda folder: train(run_in(folder))))


def test_it_is_of_every_step(averaged: RunConfig) -> None:
    torch.manual_seed(averaged.train.seed)
    state = build_experiment(replace(averaged, resume="never")).learner.state_dict()
    expected = {name: state[name].double() for name in parameters(averaged)}
    for step in range(1, 5):
        weights, found = file(averaged, step, MODEL), file(averaged, step, AVERAGE)
        assert found.keys() == weights.keys()
        for name, value in expected.items():
            expected[name] = DECAY * value + (1 - DECAY) * weights[name].double()
            torch.testing.assert_close(found[name].double(), expected[name], msg=name)
        rest = weights.keys() - expected.keys()
        assert {"model.dictionary.embed", "model.backbone.bn1.running_mean"} <= rest
        assert_same(*({name: of[name] for name in rest} for of in (weights, found)))
    assert sum(not torch.equal(weights[name], found[name]) for name in expected) > 50


def test_training_does_not_notice(averaged: RunConfig, tmp_path: Path) -> None:
    train_ = replace(averaged.train, ema=0.0)
    run = replace(averaged, run_dir=tmp_path / "run", train=train_)
    train(run)
    for name in FILES[:2]:
        assert_same(file(run, 4, name), file(averaged, 4, name))
    with_it, without = figures(averaged.directory), figures(run.directory)
    of = lambda rows, kind: [row for row in rows if row["kind"] == kind]
    assert of(with_it, "train") == of(without, "train")
    assert of(with_it, "held_out") != of(without, "held_out")
    assert not (newest_checkpoint(run.directory) / AVERAGE).exists()  # type: ignore[operator]


def test_a_resumed_run_has_the_same_bits(
    averaged: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replace(averaged, run_dir=tmp_path / "run")
    with monkeypatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(Killed):
            train(run)
    train(run)
    for name in FILES:
        assert_same(file(run, 4, name), file(averaged, 4, name))
    assert figures(run.directory) == figures(averaged.directory)


def test_a_run_that_goes_back_has_it_as_it_was(averaged: RunConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(averaged.directory, tmp_path / "run")
    trainer = Trainer(build_experiment(replace(averaged, run_dir=folder)))
    assert_same(trainer.updater.average.state(), file(averaged, 4, AVERAGE))
    trainer.keeper.go_back(folder / "checkpoint-00000002")
    assert_same(trainer.updater.average.state(), file(averaged, 2, AVERAGE))


def test_everybody_else_takes_it(averaged: RunConfig) -> None:
    newest = averaged.directory / "checkpoint-00000004"
    assert weights_in(averaged.directory) == weights_in(newest) == newest / AVERAGE
    said: list[str] = []
    experiment = restore_experiment(averaged, said.append)
    assert said == ["checkpoint-00000004: with the average of its weights"]
    assert_same(experiment.learner.state_dict(), file(averaged, 4, AVERAGE))
    other = build_experiment(replace(averaged, resume="never", init=(averaged.directory,)))
    assert other.task.loaded[0].path == newest / AVERAGE
    word = "model.text_embeddings.word_embeddings.weight"
    assert torch.equal(other.learner.state_dict()[word], file(averaged, 4, AVERAGE)[word])
    rows = [row for row in figures(averaged.directory) if row["kind"] == "held_out"]
    assert [row["step"] for row in rows] == [2, 4]
    found = evaluate(experiment)
    assert {name: rows[-1][name] for name in found} == found


def test_the_best_checkpoint_keeps_it(micro: Make, tmp_path: Path) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=2, ema=DECAY, keep_best="loss")
    train(run)
    best = run.directory / "best" / "checkpoint-00000002" / AVERAGE
    assert weights_in(run.directory / "best") == best
    assert best.samefile(run.directory / "checkpoint-00000002" / AVERAGE)
    told = "\n".join(dry_run(run, run))
    size = sum(path.stat().st_size for path in best.parent.glob("*.safetensors")) / 2**20
    assert f"a checkpoint: {size:.0f} MiB" in told
    assert ", average " in told


def test_a_step_that_is_skipped_does_not_count(micro: Make, tmp_path: Path) -> None:
    def spoil(number: int, output: StepOutput) -> None:
        if number == 2:
            loss = output.losses["tagging"]
            output.losses["tagging"] = loss + (loss * 0).sqrt() * 0  # whose gradient is NaN

    settings = {"checkpoint_every": 1, "keep_checkpoints": 9, "ema": DECAY}
    run = micro("soho_tiny", tmp_path / "run", steps=4, **settings)
    run = replace(run, task=replace(run.task, tagging_steps=3))
    with each_forward(spoil):
        train(run)
    first, second, third = (file(run, step, AVERAGE) for step in (1, 2, 3))
    assert_same(file(run, 1, MODEL), file(run, 2, MODEL))
    assert_same(first, second)
    assert sum(not torch.equal(value, third[name]) for name, value in second.items()) > 10


def test_it_may_begin_and_end_in_a_run_that_goes_on(
    micro: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=3, keep_checkpoints=9)
    train(run)
    on = replace(run, steps=4, train=replace(run.train, ema=DECAY))
    train(on)
    said = capsys.readouterr().out
    line = "note: checkpoint-00000003 has no average of the weights, which begins with those of now"
    assert said.count(line) == 1
    before, after, found = file(on, 3, MODEL), file(on, 4, MODEL), file(on, 4, AVERAGE)
    for name in parameters(run):
        expected = DECAY * before[name] + (1 - DECAY) * after[name]
        torch.testing.assert_close(found[name], expected, msg=name)
    train(replace(run, steps=5))
    line = "note: checkpoint-00000004 has an average of the weights, which ends here (--train.ema)"
    assert capsys.readouterr().out.count(line) == 1
    assert weights_in(run.directory).name == MODEL


def test_an_evaluation_that_fails_leaves_the_weights(averaged: RunConfig, tmp_path: Path) -> None:
    run = replace(averaged, run_dir=tmp_path / "run")

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlp_fast.engine.trainer.evaluate", fail)
        patch.setattr(Trainer, "_save", lambda self: None)  # so that what follows must do it
        with pytest.raises(ZeroDivisionError):
            train(run)
    assert [path.name[-1] for path in complete_checkpoints(run.directory)] == ["2"]
    for name in FILES:
        assert_same(file(run, 2, name), file(averaged, 2, name))


def device(path: Path) -> None:
    """What is no file, as long as state.json says, and with that checksum."""
    path.unlink()
    path.symlink_to("/dev/null")
    record = path.with_name("state.json")
    state = json.loads(record.read_text())
    state["files"][AVERAGE] = [0, 0]
    record.write_text(json.dumps(state))


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "device"])
def test_a_checkpoint_whose_average_is_damaged_is_none(
    averaged: RunConfig, tmp_path: Path, damage: str
) -> None:
    for step in (3, 4):
        name = f"checkpoint-{step:08d}"
        (tmp_path / name).mkdir()
        for path in (averaged.directory / name).iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    path = tmp_path / name / AVERAGE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    {
        "flip": lambda: path.write_bytes(content),
        "cut": lambda: path.write_bytes(content[:-1]),
        "remove": path.unlink,
        "device": lambda: device(path),
    }[damage]()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-00000003"


def test_the_module_has_it_within_the_context_alone() -> None:
    convolution = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    module = nn.Sequential(convolution, nn.Linear(2, 2))
    average = WeightAverage(module, 0.5)
    before = [p.detach().clone() for p in module.parameters()]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(2)
    average.update(torch.tensor(False))
    average.update(torch.tensor(True))
    with pytest.raises(ZeroDivisionError), average.in_place():
        for parameter, then in zip(module.parameters(), before, strict=True):
            torch.testing.assert_close(parameter.detach(), then + 1)
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
        raise ZeroDivisionError
    for parameter, then in zip(module.parameters(), before, strict=True):
        assert torch.equal(parameter.detach(), then + 2)
