"""A run in which each process keeps its rows is the run in which each keeps everything."""

import json
import pickle
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_runs import assert_same_tensors
from rank_processes import run_ranks
from safetensors.torch import load_file

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.trainer import train

Make = Callable[..., RunConfig]
Kept = list[dict[str, dict[str, Any]]]
STEPS, HALF = 6, 3
FILES = ("model", "average", "optimizer")

PROGRAM = """
import os, pickle, shutil, signal, sys, torch
from pathlib import Path
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.stop import Stopped
from vlp_fast.engine.trainer import Trainer
from vlp_fast.engine.world import world_of

folder, rank, port = sys.argv[1:]
os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
torch.set_num_threads(1)

def spoil(trainer):  # gradients of the second process's rows alone
    parameters = trainer.updater.parameters
    collect = parameters.collect
    def collect_nan():
        collect()
        if trainer.step == 4 and rank == "1":
            gradients = [p.grad for p in parameters.named.values() if p.grad is not None]
            max(gradients, key=torch.numel).fill_(torch.nan)  # of some it has no row
    parameters.collect = collect_nan

def stop(trainer):
    update = trainer.updater.update
    def update_and_stop(step, *others):
        if step == 1 and rank == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return update(step, *others)
    trainer.updater.update = update_and_stop

def size(tensors):
    return sum(x.numel() * x.element_size() for x in tensors)

def kept(trainer):
    updater, parameters = trainer.updater, trainer.updater.parameters
    states = [state for o in updater.optimizers for state in o.state.values()]
    return {
        "weights": size(parameters.named.values()),
        "learner": size(getattr(p, "_local_tensor", p) for p in trainer.learner.parameters()),
        "optimisers": size(x for state in states for x in state.values()),
        "average": size(updater.average._averages),
        "steps": sorted({float(state["step"]) for state in states if "step" in state}),
    }

def run(config, world, source, change):
    if source and world.is_first:
        shutil.copytree(source, config.run_dir, ignore=lambda *_: ["checkpoint-00000006"])
    world.all_values(None)
    torch.manual_seed(config.train.seed)
    trainer = Trainer(build_experiment(config, world))
    change(trainer)
    try:
        with trainer.stop, trainer.told:
            trainer.run()
    except Stopped:
        assert change is stop
    trainer.record.close()
    return kept(trainer)

CHANGES = {"": lambda trainer: None, "spoil": spoil, "stop": stop}
items = pickle.loads(Path(folder, "items").read_bytes())
with world_of(items[0][0].train) as world:
    found = {
        config.run_dir.name: run(config, world, source, CHANGES[change])
        for config, source, change in items
    }
torch.save(found, f"{folder}/{rank}.pt")
"""


def ran(folder: Path, *items: tuple[RunConfig, Path | None, str]) -> Kept:
    """Make runs one behind another in two processes; what each of these keeps of each run.

    Args:
        folder: of the processes.
        items: what is run, the run folder that it goes on from, and what is changed in it.
    """
    folder.mkdir()
    (folder / "items").write_bytes(pickle.dumps(items))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return run_ranks(PROGRAM, folder, 2, port)


@pytest.fixture
def run(micro: Make, tmp_path: Path) -> Make:
    """run(name, folder): two steps of tagging, three with the CNN frozen, then with all."""

    def make(name: str, folder: str, reduction: str) -> RunConfig:
        config = micro(name, tmp_path / folder, steps=STEPS)
        settings = {"batch_size": 2, "shards": 4, "device": "cpu", "precision": "fp32", "ema": 0.9}
        settings |= {"checkpoint_every": HALF, "keep_checkpoints": 9, "watchdog_minutes": 0}
        return replace(
            config,
            # AdamW would make steps of the usual length of gradients that are nothing but rounding.
            optim=replace(config.optim, freeze_backbone=0.3, eps=1e-4),
            train=replace(config.train, **settings, reduction=reduction),
        )

    return make


def figures(run: RunConfig) -> list[dict[str, float]]:
    lines = map(json.loads, (run.directory / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == "train"]


def assert_same(run: RunConfig, other: RunConfig, *, steps: int = STEPS) -> None:
    """Equal but for rounding, which steps magnify: of a loss, 1e-6; of weights, 1e-5."""
    assert len(figures(run)) == len(figures(other)) == steps
    for mine, theirs in zip(figures(run), figures(other), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-6)
        assert mine["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-5)
    for step in (HALF, STEPS):
        for file in FILES:
            name = f"checkpoint-{step:08d}/{file}.safetensors"
            found, expected = (load_file(each.directory / name) for each in (run, other))
            assert found.keys() == expected.keys()
            for key, value in found.items():
                torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-5, msg=key)


def assert_half(first: dict[str, Any], second: dict[str, Any], whole: dict[str, Any]) -> None:
    for what in ("weights", "learner", "optimisers", "average"):
        assert first[what] + second[what] >= whole[what]
        assert max(first[what], second[what]) <= 0.51 * whole[what], what


@pytest.mark.dist
@pytest.mark.xdist_group("processes")
def test_a_run_in_parts_goes_on_whole_and_alone_and_back(run: Make, tmp_path: Path) -> None:
    make = lambda folder, reduction: run("soho_tiny", folder, reduction)
    fast, sharded = make("fast", "fast"), make("sharded", "sharded")
    alone, stopped = make("alone", "fast"), make("stopped", "sharded")
    on, back, spoilt = make("on", "sharded"), make("back", "fast"), make("spoilt", "sharded")
    train(alone)
    first, second = ran(
        tmp_path / "ranks",
        (fast, None, ""),
        (sharded, None, ""),
        (on, alone.directory, ""),
        (back, sharded.directory, ""),
        (spoilt, sharded.directory, "spoil"),
        (stopped, None, "stop"),
        (stopped, None, ""),
    )
    for other in (sharded, alone, on, back):
        assert_same(other, fast)
    assert_half(first["sharded"], second["sharded"], first["fast"])
    assert_half(first["spoilt"], second["spoilt"], first["fast"])

    assert list(stopped.directory.glob("checkpoint-0000000[123]"))
    assert_same_tensors(sharded.directory, stopped.directory)

    assert first["sharded"]["steps"] == second["sharded"]["steps"]
    assert first["spoilt"]["steps"] == second["spoilt"]["steps"] != first["sharded"]["steps"]
    assert [row.get("skipped_steps", 0) for row in figures(spoilt)] == [0, 0, 0, 0, 1, 0]
    dump = json.loads((spoilt.directory / "dump-00000005/dump.json").read_text())
    kinds = {module["kind"] for module in dump["modules"]}
    assert {"EncoderLayer", "Stage"} < kinds and "FSDPStage" not in kinds

    ignored = shutil.ignore_patterns(f"checkpoint-{STEPS:08d}")
    shutil.copytree(sharded.directory, tmp_path / "last", ignore=ignored)
    last = make("last", "fast")
    train(last)
    assert_same(last, fast)


@pytest.mark.dist
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize(
    "recompute", ["none", pytest.param("layers", marks=pytest.mark.exhaustive)]
)
def test_layers_that_are_called_twice_in_a_step(run: Make, tmp_path: Path, recompute: str) -> None:
    """E2E-VLP's decoder, by detection and by captioning; computed again on the way back, too."""
    fast, sharded = (run("e2e_vlp_tiny", name, name) for name in ("fast", "sharded"))
    sharded = replace(sharded, train=replace(sharded.train, recompute=recompute))
    first, second = ran(tmp_path / "ranks", (fast, None, ""), (sharded, None, ""))
    assert_same(sharded, fast)
    assert_half(first["sharded"], second["sharded"], first["fast"])
