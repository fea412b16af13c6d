"""A step that is skipped is written down as it was, and `vlp-fast replay` repeats it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import assert_same_tensors
from safetensors.torch import load_file
from spoilt_steps import each_forward, poisoned

from vlp_fast.cli import main
from vlp_fast.engine import dump
from vlp_fast.engine.checkpoint import complete_checkpoints, load_model
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.dumps import Dumps
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.rerun import Which, rerun
from vlp_fast.engine.trainer import Trainer, train
from vlp_fast.engine.updater import shard_seed
from vlp_fast.errors import InputError
from vlp_fast.layers.shard_statistics import ShardStatistics
from vlp_fast.tasks.step import StepOutput

Make = Callable[..., RunConfig]
BROKEN = "model.encoder.layers.1.ffn.linear2"
LAST = 4
"""The last step that moves anything: before the next one, a weight is set to infinity."""


def dumps_of(run: RunConfig) -> list[str]:
    return sorted(path.name for path in run.directory.glob("dump-*"))


@pytest.fixture(scope="module", params=["soho_tiny", "e2e_vlp_tiny"])
def broken(request: pytest.FixtureRequest, micro: Make, once: Callable[..., Path]) -> RunConfig:
    """A run of which a weight becomes infinite, with what its losses were; to be read only."""

    def run_in(folder: Path) -> RunConfig:
        settings = {"batch_size": 2, "shards": 2, "log_every": 9, "ema": 0.5}
        run = micro(request.param, folder / "run", steps=6, **settings)
        frozen = replace(run.optim, freeze_backbone=99.0)  # which a replay has to know
        return replace(run, optim=frozen)

    def fill(folder: Path) -> None:
        advance = Trainer._advance

        def spoilt(self: Trainer, batches: Any) -> None:
            if self.step == LAST:
                self.learner.get_submodule(BROKEN).bias.data[0] = torch.inf
            advance(self, batches)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "_advance", spoilt)
            with pytest.raises(InputError, match="step 6: the last 2 steps were skipped"):
                train(run_in(folder))

    return run_in(once(f"broken-{request.param}", fill))


def test_the_first_and_the_last_step_are_written_down(broken: RunConfig) -> None:
    """With ids, seeds and the weights before the step."""
    assert dumps_of(broken) == ["dump-00000005", "dump-00000006"]
    experiment = build_experiment(broken)
    for step in (5, 6):
        folder = broken.directory / f"dump-0000000{step}"
        values = dump.read(folder)
        batches = [inputs for _, inputs in experiment.batches(step - 1, step)]
        found = values["shards"]
        assert [row["samples"] for row in found] == [list(x.image_ids) for x in batches]
        assert [row["seed"] for row in found] == [shard_seed(0, step - 1, n) for n in range(2)]
        assert (values["step"], values["position"], values["scale"]) == (step, step - 1, 1.0)
        assert values["weights_are_those_of_then"]
        (checkpoint,) = complete_checkpoints(folder)
        weights = load_file(checkpoint / "model.safetensors")
        assert weights[f"{BROKEN}.bias"][0] == torch.inf
        assert not [name for name, x in weights.items() if x.isnan().any()]


def test_it_names_the_first_module(broken: RunConfig) -> None:
    values = dump.read(broken.directory / "dump-00000005")
    for row in values["shards"]:
        found = row["first_not_finite"]
        assert (found["module"], found["kind"], found["what"]) == (BROKEN, "Linear", "output")
        assert found["input_is_finite"]
        assert found["count"] > found["non_finite"] > 0
    rows = {row["module"]: row for row in values["modules"]}
    names = {name for name, _ in build_experiment(broken).learner.named_modules()}
    assert set(rows) - names <= {"mlm", "mvm", "itm", "detection", "captioning"}
    assert sum("output" in row and "gradient of the output" in row for row in rows.values()) > 20
    before = rows["model.encoder.layers.0.ffn.linear2"]
    assert before["output"]["non_finite"] == 0
    assert before["output"]["low"] < 0 < before["output"]["high"]
    assert rows[BROKEN]["output"]["non_finite"] > 0


def test_replay_repeats_it(
    broken: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(broken.directory / "dump-00000006", tmp_path / "dump")
    assert main(["replay", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"step 6 of {broken.name}" in out
    assert "average" not in out  # of the weights, which is as finite as they were
    for row in dump.read(folder)["shards"]:
        line = next(x for x in out.splitlines() if x.startswith(f"shard {row['shard']}: "))
        assert f"not finite first: output of {BROKEN} (Linear), " in line
        assert ", its input is finite; of samples " + ", ".join(map(str, row["samples"])) in line
        for name, loss in row["losses"].items():
            assert f"{name} {'nan' if loss is None else f'{loss:.4g}'}" in line
    # With a weight that is finite, the step is, too.
    (checkpoint,) = complete_checkpoints(folder)
    mend(checkpoint)
    expected = losses_of(broken, checkpoint)
    values = dump.read(folder)
    values["shards"][1]["samples"][0] = -1
    values |= {"device": "cuda", "weights_are_those_of_then": False}
    (folder / "dump.json").write_text(json.dumps(values))
    assert main(["replay", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "everything is finite here; the largest gradient is" in out
    assert "shard 0: finite  " + "  ".join(f"{n} {x:.4g}" for n, x in expected.items()) in out
    assert "note: shards [1] have other samples than then" in out
    assert "note: the run was on cuda" in out
    assert "note: the weights are those after step 6" in out


def losses_of(run: RunConfig, checkpoint: Path) -> dict[str, float]:
    """Of the first shard of step 6, by hand."""
    experiment = build_experiment(run)
    learner = experiment.learner
    load_model(checkpoint, learner)
    learner.model.backbone.freeze(learner.model.backbone.num_stages)
    learner.train()
    inputs = next(inputs for _, inputs in experiment.batches(5, 6))
    torch.manual_seed(shard_seed(0, 5, 0))
    with experiment.precision.autocast():
        output = learner(experiment.task, inputs)
    return {name: float(loss.detach()) for name, loss in output.losses.items()}


def mend(checkpoint: Path) -> None:
    from safetensors.torch import save_file

    from vlp_fast.weights.checkpoints import checksum_of

    path = checkpoint / "model.safetensors"
    weights = load_file(path)
    weights[f"{BROKEN}.bias"][0] = 0
    save_file(weights, path)
    state = json.loads((checkpoint / "state.json").read_text())
    state["files"][path.name] = [path.stat().st_size, checksum_of(path)]
    (checkpoint / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_looking_into_a_step_finds_it_as_it_was_and_changes_nothing(
    micro: Make, tmp_path: Path, name: str
) -> None:
    """One odd step is written down, at once, and once a run; its dropout and masks are its own."""
    looked, blind = (
        micro(name, tmp_path / folder, steps=4, batch_size=2, shards=2, log_every=5)
        for folder in ("looked", "blind")
    )
    losses: list[dict[str, float]] = []

    def note(_: int, output: StepOutput) -> None:
        losses.append({name: float(x.detach()) for name, x in output.losses.items()})

    with poisoned({2}):
        train(looked)
        with pytest.MonkeyPatch.context() as patch, each_forward(note):
            patch.setattr(Dumps, "look", lambda *_, **__: None)
            train(blind)
    assert_same_tensors(looked.directory, blind.directory)
    assert dumps_of(looked) == ["dump-00000003"]
    assert dumps_of(blind) == []
    values = dump.read(looked.directory / "dump-00000003")
    assert values["weights_are_those_of_then"]
    assert [row["losses"] for row in values["shards"]] == losses[4:6]


@pytest.mark.parametrize("rule", ["eq4", "sum_count_laplace"])
def test_a_rerun_leaves_everything_as_it_was(micro: Make, tmp_path: Path, rule: str) -> None:
    run = micro("soho_tiny", tmp_path / "run", steps=2, batch_size=2, shards=2)
    experiment = build_experiment(replace(run, model=replace(run.model, ema_rule=rule)))
    learner = experiment.learner
    before = {name: x.clone() for name, x in learner.state_dict().items()}
    state = torch.get_rng_state()
    shards = rerun(experiment, Which(step=1, position=0, scale=8.0), range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, before[name]) for name, x in learner.state_dict().items())
    assert learner.training
    assert all(p.grad is None for p in learner.parameters())
    assert not any(module._forward_hooks for module in learner.modules())
    again = rerun(experiment, Which(step=1, position=0, scale=1.0), range(2))
    assert [x.norm for x in again] == pytest.approx([x.norm for x in shards], rel=1e-3)
    assert [x.losses for x in again] == [x.losses for x in shards]


def test_statistics_that_are_infinite(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the first step, which is the last one, too, and written down once."""
    run = micro("soho_tiny", tmp_path / "run", steps=1, batch_size=2)
    take = ShardStatistics.take

    def spoilt(self: ShardStatistics) -> list[torch.Tensor]:
        found = take(self)
        found[-1].view(-1)[3] = torch.inf
        return found

    monkeypatch.setattr(ShardStatistics, "take", spoilt)
    with pytest.raises(InputError, match="step 1: the last step was skipped"):
        train(run)
    (row,) = dump.read(run.directory / "dump-00000001")["shards"]
    found = row["first_not_finite"]
    assert (found["module"], found["what"]) == ("model.dictionary", "statistics")
    assert capsys.readouterr().out.count("step 1 was skipped; `vlp-fast replay") == 1


def test_a_step_that_is_noticed_late(micro: Make, tmp_path: Path) -> None:
    """As on a GPU, where a line waits and a step does not; weights have moved, or have not."""
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=5, batch_size=3, log_every=4)
    look = Dumps.look

    def late(self: Dumps, *words: Any, is_line: bool) -> str | None:
        return look(self, *words, is_line=True) if is_line else None

    found = []
    for folder, bad in (("moved", {2}), ("still", {2, 3})):
        of_case = replace(run, run_dir=tmp_path / folder)
        with pytest.MonkeyPatch.context() as patch, poisoned(bad):
            patch.setattr(Dumps, "look", late)
            train(of_case)
        values = dump.read(of_case.directory / "dump-00000003")
        found.append((values["weights_of_step"], values["weights_are_those_of_then"]))
    assert found == [(4, False), (4, True)]


@pytest.mark.parametrize(("is_loss", "expected"), [(False, []), (True, ["dump-00000003"])])
def test_the_search_for_a_scale_is_not_written_down(
    micro: Make, tmp_path: Path, is_loss: bool, expected: list[str]
) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=4, batch_size=2, precision="fp16")

    def spoil(number: int, output: StepOutput) -> None:
        if number == 3 and is_loss:
            output.losses["itm"] = output.losses["itm"] * torch.inf

    with poisoned({1, 2}), each_forward(spoil):
        train(run)
    assert dumps_of(run) == expected
    for name in expected:
        assert dump.read(run.directory / name)["scale"] == 65536 / 4


def test_what_fails_in_it_ends_no_run(
    micro: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = micro("e2e_vlp_tiny", tmp_path / "run", steps=3, batch_size=2)

    def fail(*_: object) -> None:
        raise MemoryError("no more")

    for place, said in (
        ("rerun", "step 2 was skipped; `vlp-fast replay"),
        ("dump.finish", "step 2 was skipped, and cannot be written down: no more"),
    ):
        of_case = replace(run, run_dir=tmp_path / place)
        with pytest.MonkeyPatch.context() as patch, poisoned({1}):
            patch.setattr(f"vlp_fast.engine.dumps.{place}", fail)
            train(of_case)
        assert said in capsys.readouterr().out
        assert not list(of_case.directory.glob(".dump*"))
    values = dump.read(tmp_path / "rerun/dump-00000002")
    assert values["failed"] == ["MemoryError: no more"]
    assert dumps_of(of_case) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"step": 1}', "cannot be read"),
        ('{"step": 1, "position": "a", "scale": 1.0, "precision": "x", "shards": []}', "position"),
        ('{"step": 1, "position": 0, "scale": 1.0, "precision": "x", "shards": []}', "precision"),
        (
            '{"step": 0, "position": -1, "scale": NaN, "precision": "float32", "shards": [1]}',
            "step, position, scale, shards",
        ),
    ],
)
def test_what_is_no_dump(
    broken: RunConfig, tmp_path: Path, call: Any, text: str, said: str
) -> None:
    folder = tmp_path / "dump"
    call("replay", tmp_path).assert_refused("no dump.json", tmp_path)
    shutil.copytree(broken.directory / "dump-00000006", folder)
    (folder / "dump.json").write_text(text)
    call("replay", folder).assert_refused("dump.json", said)
