"""`--train.profile 2:4` watches two steps and changes none."""

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.profiler import record_function

from vlp_fast.engine.config import RunConfig, TrainConfig
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.step_profile import StepProfile, on_host
from vlp_fast.engine.trainer import train

Make = Callable[..., RunConfig]


def test_where_the_time_of_two_steps_went(
    micro: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = micro("e2e_vlp_tiny", tmp_path / "plain", steps=5)
    train(plain)
    capsys.readouterr()
    of_two = replace(plain, run_dir=tmp_path / "run", train=replace(plain.train, profile="2:4"))
    train(of_two)
    assert "steps 2 to 4: " in capsys.readouterr().out
    words = (tmp_path / "run/profile.txt").read_text()
    stages = dict(line.split()[:2] for line in words.splitlines()[1:4])
    assert list(stages) == ["data", "forward", "backward"]
    assert all(float(time) > 0 for time in stages.values())
    assert "addmm" in words
    with gzip.open(tmp_path / "run/profile.json.gz") as file:
        events = json.load(file)["traceEvents"]
    assert sum(event.get("name") == "backward" for event in events) >= 2
    losses = [row["loss"] for row in read_journal(tmp_path / "run/metrics.jsonl")]
    assert losses == [row["loss"] for row in read_journal(tmp_path / "plain/metrics.jsonl")]


def test_a_gpu_that_the_run_does_not_compute_on_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    words = watched(StepProfile(range(1), tmp_path, lambda line: None, is_gpu=False), tmp_path)
    assert "collectives" in words
    assert "CUDA" not in words


def test_steps_that_a_run_makes_once_more_are_watched_by_themselves(tmp_path: Path) -> None:
    profile = StepProfile(range(1), tmp_path, lambda line: None, is_gpu=False)
    for _ in range(2):
        words = watched(profile, tmp_path)
        share = next(line for line in words.splitlines() if line.startswith("forward"))
        assert float(share.split()[1]) >= 20


def watched(profile: StepProfile, folder: Path) -> str:
    """What is written of a step."""
    profile.begin(0)
    with record_function("gloo:all_reduce"):
        torch.ones(3).exp()
    with record_function("forward"):
        time.sleep(0.02)
    profile.end(1)
    return (folder / "profile.txt").read_text()


def test_a_part_of_a_step_on_a_gpu_is_told_by_the_host() -> None:
    """Torch lists its kernels under the same name, with no time of the host."""
    pairs = [("backward", 5000.0), ("forward", 0.0), ("forward", 3000.0), ("backward", 0.0)]
    events = [SimpleNamespace(key=key, cpu_time_total=time) for key, time in pairs]
    assert on_host(events) == {"backward": 5, "forward": 3}


@pytest.mark.parametrize("text", ["5", "5:", ":5", "8:2", "a:b", "-1:2"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected steps as in '10:20'"):
        TrainConfig(profile=text)
