"""`--dry-run` says what a run would be, and what it says is what the run then is."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vlp_fast.cli import main
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.dry_run import dry_run
from vlp_fast.engine.trainer import train
from vlp_fast.weights.checkpoints import newest_checkpoint

Make = Callable[..., RunConfig]


def words_of(run: RunConfig, recipe: RunConfig) -> str:
    return "\n".join(dry_run(run, recipe))


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_what_it_says_is_so(micro: Make, tmp_path: Path, name: str) -> None:
    run = micro(name, tmp_path / "run", steps=4, batch_size=2)
    run = replace(run, train=replace(run.train, shards=2, processes=2))
    told = words_of(run, replace(run, train=replace(run.train, shards=1)))
    assert "  train.shards: 2, in the recipe 1" in told
    assert "steps: 4, of 2 shards of 2 images" in told
    assert "process 0 of 2: shards 0 to 0" in told
    assert "process 1 of 2: shards 1 to 1" in told
    assert "sent by process 1 of 2" in told
    assert not run.directory.exists()

    alone = replace(run, train=replace(run.train, processes=1))
    train(alone)
    found = newest_checkpoint(run.directory, print)
    assert found is not None
    size = sum(path.stat().st_size for path in found.glob("*.safetensors")) / 2**20
    said = re.search(r"a checkpoint: (\d+) MiB", told)
    assert said is not None
    assert float(said[1]) == pytest.approx(size, abs=1)


def test_the_command(small_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    words = ["soho_tiny", "--data.root", str(small_world), "--dry-run", "--run-dir", str(folder)]
    assert main(["train", *words, "--train.shards", "4", "--train.batch-size", "2"]) == 0
    assert "process 0 of 1: shards 0 to 3 of the first step" in capsys.readouterr().out
    assert not folder.exists()
    assert main(["train", *words, "--train.shards", "4", "--train.processes", "3"]) == 2
    assert "cannot share the 4 shards" in capsys.readouterr().err
