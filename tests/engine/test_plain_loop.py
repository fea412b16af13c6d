"""The trainer is a plain loop of PyTorch, down to the bit: the loop stands here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW, Optimizer

from vlp_fast.engine.checkpoint import load_model, newest_checkpoint
from vlp_fast.engine.config import RunConfig
from vlp_fast.engine.experiment import build_experiment
from vlp_fast.engine.first_batches import FirstBatches
from vlp_fast.engine.trainer import train

Make = Callable[..., RunConfig]


def plain_loop(run: RunConfig) -> dict[str, Tensor]:
    """What anybody would write: one process, one shard a step, float32, no tagging, no freeze."""
    torch.manual_seed(run.train.seed)
    experiment = build_experiment(run)
    learner, task, optim = experiment.learner.train(), experiment.task, run.optim
    backbone = list(learner.model.backbone.parameters())
    others = [p for p in learner.parameters() if not any(p is q for q in backbone)]
    kind = SGD if optim.backbone_optimizer == "sgd" else AdamW
    options = {"momentum": 0.9} if kind is SGD else {"betas": optim.betas, "eps": optim.eps}
    optimizers: list[Optimizer] = [
        AdamW(
            others,
            lr=optim.lr,
            betas=optim.betas,
            eps=optim.eps,
            weight_decay=optim.weight_decay,
            fused=True,
        ),
        kind(
            backbone,
            lr=optim.backbone_lr,
            weight_decay=optim.backbone_weight_decay,
            fused=True,
            **options,
        ),
    ]
    torch.manual_seed(run.train.seed * 1_000_003)
    task.begin(learner, FirstBatches(experiment, task), experiment.precision)
    for step, (_, inputs) in enumerate(experiment.batches(0, experiment.total_steps)):
        torch.manual_seed(run.train.seed * 1_000_003 + step)
        learner(task, inputs).total.backward()
        clip_grad_norm_(learner.parameters(), optim.clip_norm)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return learner.state_dict()


@pytest.mark.parametrize("name", ["soho_tiny", "e2e_vlp_tiny"])
def test_the_trainer_moves_every_weight_as_a_plain_loop_does(
    micro: Make, tmp_path: Path, name: str
) -> None:
    run = micro(name, tmp_path / "run", steps=6, precision="fp32")
    run = replace(
        run,
        model=replace(run.model, dropout=0.1),
        task=replace(run.task, tagging_steps=0),
        optim=replace(run.optim, schedule="step", warmup_steps=0, freeze_backbone=0.0),
    )
    expected = {name: value.clone() for name, value in plain_loop(run).items()}
    train(run)
    found = newest_checkpoint(run.directory)
    assert found is not None
    experiment = build_experiment(run)
    load_model(found, experiment.learner)
    for key, value in experiment.learner.state_dict().items():
        assert torch.equal(value, expected[key]), key
