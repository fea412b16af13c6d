"""Too many replaced samples stop a run, at the same step however often it was interrupted."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killed_runs import Killed, kill_at

from vlp_fast.data.config import DataConfig
from vlp_fast.engine.checkpoint import complete_checkpoints, read_state
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.replaced import CHANCE, Replaced
from vlp_fast.engine.shown import Shown
from vlp_fast.engine.trainer import train
from vlp_fast.engine.world import World
from vlp_fast.errors import InputError

Make = Callable[..., RunConfig]
DATA = DataConfig(root=(Path("a b"), Path("c")))


def after(*batches: tuple[int, int]) -> Replaced:
    counts = Replaced()
    for samples, replaced in batches:
        counts = counts.after(samples, replaced)
    return counts


def test_a_share_and_eight_for_chance() -> None:
    assert after((10, 8)) == Replaced(shown=10, count=8, in_a_row=0)
    after((10, 8)).check(DATA, 1)
    after((5000, 13)).check(DATA, 1)
    with pytest.raises(InputError, match="after step 7: 9 of 10 samples were replaced") as refused:
        after((10, 9)).check(DATA, 7)
    assert "`vlp-fast data check 'a b' c`" in str(refused.value)
    assert "--data.max-replaced (0.001)" in str(refused.value)
    with pytest.raises(InputError, match="14 of 5,000"):
        after((5000, 14)).check(DATA, 1)
    after((5000, 58)).check(replace(DATA, max_replaced=0.01), 1)


def test_sixty_four_in_a_row() -> None:
    """Late in a run, when the share allows more."""
    late = (10**6, 0), (32, 32)
    after(*late).check(DATA, 1)
    assert after(*late).in_a_row == 32
    with pytest.raises(InputError, match="the last 64 samples were replaced"):
        after(*late, (32, 32)).check(DATA, 1)
    after(*late, (32, 31), (32, 32)).check(DATA, 1)
    with pytest.raises(InputError, match="the last 64 samples"):
        after((64, 64)).check(replace(DATA, max_replaced=1.0), 1)


def test_chance_alone_stops_one_run_in_twenty_thousand() -> None:
    """Broken pictures come at half of the allowed rate, in units of its inverse."""
    draw = np.random.default_rng(0)
    runs = 100_000
    stopped = {0: 0, CHANCE: 0}
    for _ in range(10):
        times = np.cumsum(draw.exponential(2, (runs // 10, 120)), axis=1)
        ahead = (np.arange(1, 121) - times).max(axis=1)
        for slack in stopped:
            stopped[slack] += int((ahead > slack).sum())
    assert stopped[CHANCE] / runs < 1 / 10_000
    assert stopped[0] / runs > 0.1  # without it, an ordinary run is in danger


@pytest.mark.parametrize("state", [None, {}, {"shown": 1}, [], {"shown": 1, "count": "x"}])
def test_a_checkpoint_without_counts(state: Any) -> None:
    assert Replaced.restored(state) == Replaced()
    counts = Replaced(shown=9, count=3, in_a_row=2)
    assert Replaced.restored(counts.state()) == counts


def test_what_others_have_shown_is_known_without_them() -> None:
    """Steps that are whole, of two processes one of which is lost: it cannot be asked."""
    shown = Shown(World(rank=0, count=2), after((40, 0)))
    steps = ([(4, 1), (4, 0), (4, 4), (4, 4)], [(4, 4), (4, 4), (4, 1), (4, 4)])
    for of_all in steps:
        shown.end_step(torch.tensor(of_all, dtype=torch.float64))
    shown.count()
    shown.count()  # once
    assert shown.replaced == after((40, 0), *steps[0], *steps[1])
    assert shown.replaced == Replaced(shown=72, count=22, in_a_row=4)


@pytest.fixture
def damaged(micro: Make, small_world: Path, tmp_path: Path) -> RunConfig:
    """A run on a world of which a fifth of the pictures is cut off."""
    root = tmp_path / "world"
    shutil.copytree(small_world, root)
    for path in sorted((root / "images").iterdir())[4:60:5]:
        path.write_bytes(path.read_bytes()[:60])
    run = micro("soho_tiny", tmp_path / "run", steps=40, checkpoint_every=2, batch_size=6)
    return replace(run, data=replace(run.data, root=(root,)))


def refusal(run: RunConfig) -> str:
    with pytest.raises(InputError) as refused:
        train(run)
    return str(refused.value)


def test_a_run_stops_where_an_uninterrupted_one_does(
    damaged: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refusal(damaged)
    assert "samples were replaced" in said
    step = int(said.removeprefix("after step ").partition(":")[0])
    assert step >= 4
    newest = read_state(complete_checkpoints(damaged.directory)[-1])
    assert newest["step"] == step  # saved, but for what was shown of the next
    assert newest["replaced"]["shown"] == 6 * step
    again = replace(damaged, run_dir=tmp_path / "parts")
    with monkeypatch.context() as patch:
        kill_at(patch, 3)
        with pytest.raises(Killed):
            train(again)
    assert refusal(again) == said
    assert refusal(again) == said  # and once more, from the step that was saved


def test_a_higher_share_lets_it_go_on(
    damaged: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal(damaged)
    more = replace(damaged, data=replace(damaged.data, max_replaced=0.5), steps=12)
    train(more)
    assert capsys.readouterr().out.count("warning: pictures are broken") == 2  # once a process
