"""Each tiny recipe learns: after thirty steps the total loss is clearly lower."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.trainer import Trainer, train
from vlp_fast.errors import InputError

Make = Callable[..., RunConfig]


@pytest.mark.parametrize(("name", "factor"), [("soho_tiny", 0.85), ("e2e_vlp_tiny", 0.85)])
def test_the_loss_falls(micro: Make, tmp_path: Path, name: str, factor: float) -> None:
    run = micro(name, tmp_path / "run", steps=30, batch_size=8)
    optim = replace(run.optim, lr=3e-3, schedule="step", decay_epochs=())
    train(replace(run, optim=optim))
    rows = [r for r in read_journal(run.directory / "metrics.jsonl") if r["kind"] == "train"]
    losses = [row["loss"] for row in rows if "mlm" in row]
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert last < factor * first
    tagging = [row["tagging"] for row in rows if "tagging" in row]
    assert len(tagging) == 2
    assert tagging[1] < tagging[0]


@pytest.mark.parametrize("freeze_statistics", [True, False])
@pytest.mark.parametrize("epochs", [0.0, 1 / 3])
def test_the_frozen_cnn_stands_still_and_then_moves(
    micro: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    freeze_statistics: bool,
    epochs: float,
) -> None:
    """An epoch is 9 steps: two of tagging, a third of an epoch frozen, the rest trained by SGD."""
    weights, statistics = [], []
    advance = Trainer._advance

    def watched(self: Trainer, batches: Any) -> None:
        cnn = self.learner.model.backbone
        before = {n: v.clone() for n, v in cnn.state_dict().items()}
        advance(self, batches)
        now = cnn.state_dict()
        moved = {n for n in before if not torch.equal(before[n], now[n])}
        parameters = {n for n, _ in cnn.named_parameters()}
        assert moved & parameters in (set(), parameters)  # all or none
        weights.append(bool(moved & parameters))
        statistics.append("bn1.running_mean" in moved)

    monkeypatch.setattr(Trainer, "_advance", watched)
    run = micro("soho_tiny", tmp_path / "run", steps=8)
    optim = replace(run.optim, freeze_backbone=epochs, freeze_statistics=freeze_statistics)
    train(replace(run, optim=optim))
    frozen = int(9 * epochs)
    assert weights == [True] * 2 + [False] * frozen + [True] * (6 - frozen)
    moving = not freeze_statistics
    assert statistics == [True] * 2 + [False] * frozen + [moving] * (6 - frozen)


def test_a_cnn_that_is_frozen_and_random_is_refused(micro: Make, tmp_path: Path) -> None:
    run = micro("soho_tiny", tmp_path / "run")
    cold = replace(
        run,
        task=replace(run.task, tagging_steps=0),
        optim=replace(run.optim, freeze_backbone=1.0),
    )
    with pytest.raises(InputError, match=r"frozen CNN.*--init"):
        train(cold)
    assert not (tmp_path / "run").exists()


def test_stages_that_stay_frozen_and_random_are_refused(micro: Make, tmp_path: Path) -> None:
    """As `soho_r18_3_official` without weights; tagging does not teach a frozen stage."""
    run = micro("soho_tiny", tmp_path / "run")
    backbone = replace(run.model.backbone, freeze_stages=1)
    assert run.task.tagging_steps > 0
    assert run.optim.freeze_backbone == 0
    with pytest.raises(InputError, match=r"frozen CNN.*--model\.backbone\.freeze-stages 0"):
        train(replace(run, model=replace(run.model, backbone=backbone)))
    assert not (tmp_path / "run").exists()
