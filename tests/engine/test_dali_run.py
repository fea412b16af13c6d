"""A run whose pictures DALI decodes learns, stops and goes on as any other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from killed_runs import RECIPES, Killed, assert_same_tensors, figures, kill_at

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.restore import restore_experiment
from vlp_fast.engine.trainer import train

pytest.importorskip("nvidia.dali", reason="needs the extra [dali]")

Make = Callable[..., RunConfig]


def by(decoder: str, run: RunConfig) -> RunConfig:
    return replace(run, data=replace(run.data, decoder=decoder, cache=False, shorter=(40, 48)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_run_equals_the_uninterrupted_one(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    settings = {"checkpoint_every": 3, "evaluate_every": 3, "keep_checkpoints": 5}
    whole = by("dali", micro(recipe, tmp_path / "whole", **settings))
    train(whole)
    broken_off = replace(whole, run_dir=tmp_path / "parts")
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        with pytest.raises(Killed):
            train(broken_off)
    train(broken_off)
    assert_same_tensors(whole.directory, broken_off.directory)
    assert figures(whole.directory) == figures(broken_off.directory)


def test_another_decoder_is_told_when_a_run_goes_on_and_when_it_is_evaluated(
    micro: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = micro("soho_tiny", tmp_path / "run", steps=4)
    train(by("torchvision", run))
    capsys.readouterr()
    other = by("dali", replace(run, steps=5))
    train(other)
    said = "learnt from pictures decoded by torchvision"
    assert said in capsys.readouterr().out
    lines: list[str] = []
    restore_experiment(by("torchvision", run), lines.append)
    assert any("learnt from pictures decoded by DALI" in line for line in lines)
