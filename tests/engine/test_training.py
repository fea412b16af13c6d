"""Each tiny recipe learns: after thirty steps the total loss is clearly lower."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vlp_fast.engine.experiment import Run
from vlp_fast.engine.progress import read_journal
from vlp_fast.engine.trainer import train

Make = Callable[..., Run]


@pytest.mark.parametrize(("name", "factor"), [("soho_tiny", 0.85), ("e2e_vlp_tiny", 0.85)])
def test_the_loss_falls(micro: Make, tmp_path: Path, name: str, factor: float) -> None:
    run = micro(name, tmp_path / "run", steps=30, batch_size=8)
    optim = replace(run.optim, lr=3e-3, schedule="step", decay_epochs=())
    train(replace(run, optim=optim))
    rows = [r for r in read_journal(run.directory / "metrics.jsonl") if r["kind"] == "train"]
    losses = [row["loss"] for row in rows if "mlm" in row]
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert last < factor * first
    if name == "soho_tiny":
        tagging = [row["tagging"] for row in rows if "tagging" in row]
        assert len(tagging) == 2
        assert tagging[1] < tagging[0]


def test_the_frozen_cnn_stands_still_and_then_moves(
    micro: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch is 9 steps: frozen for a third of one, then trained by SGD."""
    from vlp_fast.engine.trainer import Trainer

    moved: list[bool] = []
    advance = Trainer._advance

    def watched(self: Trainer, batches: list[object]) -> None:
        before = {n: p.detach().clone() for n, p in self.model.backbone.named_parameters()}
        statistics = self.model.backbone.bn1.running_mean.clone()
        advance(self, batches)  # type: ignore[arg-type]
        now = dict(self.model.backbone.named_parameters())
        changed = {not bool((before[name] == now[name]).all()) for name in before}
        assert len(changed) == 1
        moved.extend(changed)
        if self.step >= 2:
            assert (statistics == self.model.backbone.bn1.running_mean).all()

    monkeypatch.setattr(Trainer, "_advance", watched)
    run = micro("soho_tiny", tmp_path / "run", steps=8)
    train(replace(run, optim=replace(run.optim, freeze_backbone=1 / 3)))
    assert moved == [True, True, False, False, False, True, True, True]
