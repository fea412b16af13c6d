"""`--train.tensorboard` writes what metrics.jsonl has."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.trainer import train
from vlp_fast.errors import InputError

Make = Callable[..., RunConfig]


@pytest.fixture
def run(micro: Make, tmp_path: Path) -> RunConfig:
    made = micro("e2e_vlp_tiny", tmp_path / "run", steps=4)
    return replace(made, train=replace(made.train, tensorboard=True))


def test_the_same_figures(run: RunConfig) -> None:
    train(run)
    board = EventAccumulator(str(run.directory / "tensorboard"))
    board.Reload()
    for kind in ("train", "held_out"):
        rows = [r for r in read_journal(run.directory / "metrics.jsonl") if r["kind"] == kind]
        for name in set(rows[-1]) - {"step", "kind", "of"}:
            shown = {e.step: e.value for e in board.Scalars(f"{kind}/{name}")}
            assert shown == pytest.approx({r["step"]: r[name] for r in rows if name in r}, rel=1e-6)


def test_without_it_one_line_says_what_to_install(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'vlp-fast\[log\]'"):
        train(run)
