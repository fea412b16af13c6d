"""Two worlds of parameters, and the learning rate as a function of the step."""

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from vlp_fast.engine.config import OptimConfig
from vlp_fast.engine.optim import (
    build_optimizers,
    clip_gradients,
    learning_rate_scale,
    set_learning_rates,
)
from vlp_fast.recipes import recipe
from vlp_fast.tasks.task import Learner


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)
        self.backbone_head = nn.Linear(2, 2)  # not the CNN, though its name begins alike


def learner() -> Learner:
    return Learner(Model(), nn.Linear(4, 3))  # type: ignore[arg-type]


def scale(step: int, config: OptimConfig, total: int = 100, epoch: float = 10.0) -> float:
    return learning_rate_scale(step, config=config, total_steps=total, steps_per_epoch=epoch)


@pytest.mark.parametrize(("name", "kind"), [("sgd", SGD), ("adamw", AdamW)])
def test_every_parameter_is_in_exactly_one_group(name: str, kind: type) -> None:
    model = learner()
    config = OptimConfig(
        lr=1e-3,
        weight_decay=0.02,
        backbone_optimizer=name,  # type: ignore[arg-type]
        backbone_lr=1e-4,
        backbone_weight_decay=0.3,
        betas=(0.8, 0.9),
        eps=1e-5,
    )
    others, backbone = build_optimizers(model, config)
    assert isinstance(others, AdamW)
    assert isinstance(backbone, kind)
    ids = [{id(p) for g in o.param_groups for p in g["params"]} for o in (others, backbone)]
    assert ids[1] == {id(p) for p in model.model.backbone.parameters()}
    assert ids[0] == {id(p) for p in model.parameters()} - ids[1]
    assert sum(len(g["params"]) for o in (others, backbone) for g in o.param_groups) == 10
    first, second = others.param_groups[0], backbone.param_groups[0]
    assert (first["lr"], first["weight_decay"]) == (1e-3, 0.02)
    assert (first["betas"], first["eps"]) == ((0.8, 0.9), 1e-5)
    assert (second["lr"], second["weight_decay"]) == (1e-4, 0.3)
    assert second.get("momentum", 0.9) == 0.9
    assert second.get("betas", (0.8, 0.9)) == (0.8, 0.9)


def test_step_schedule_divides_by_ten() -> None:
    config = OptimConfig(decay_epochs=(2.0, 3.5))
    values = [scale(step, config) for step in (0, 19, 20, 34, 35, 99)]
    assert values == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_step_schedule_with_epochs_that_are_no_whole_steps() -> None:
    """With accumulation an epoch may be a fraction of a step, and must not count as none."""
    config = OptimConfig(decay_epochs=(25.0,))
    assert scale(0, config, epoch=0.5) == 1
    assert scale(12, config, epoch=0.5) == 1
    assert scale(13, config, epoch=0.5) == pytest.approx(0.1)
    assert scale(122, config, epoch=4.9) == 1
    assert scale(123, config, epoch=4.9) == pytest.approx(0.1)


def test_cosine_schedule_and_warm_up() -> None:
    config = OptimConfig(schedule="cosine", warmup_steps=4)
    assert scale(0, config) == pytest.approx(0.25)
    assert scale(1, config) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi / 100)))
    assert scale(50, config) == pytest.approx(0.5)
    assert scale(100, config) == pytest.approx(0, abs=1e-12)
    assert scale(150, config) == pytest.approx(0, abs=1e-12)
    falling = [scale(step, config) for step in range(4, 100)]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize(("backbone_scale", "expected"), [(1.0, 1e-2), (0.05, 5e-4)])
def test_only_the_cnns_rate_is_scaled_besides(backbone_scale: float, expected: float) -> None:
    config = OptimConfig(lr=1e-4, backbone_lr=1e-2)
    optimizers = build_optimizers(learner(), config)
    set_learning_rates(optimizers, 0.5, config=config, backbone_scale=backbone_scale)
    rates = [o.param_groups[0]["lr"] for o in optimizers]
    assert rates == pytest.approx([0.5e-4, 0.5 * expected])


@pytest.mark.parametrize(("largest", "expected"), [(1.0, 1.0), (0.0, 10.0), (100.0, 10.0)])
def test_clipping_scales_all_gradients_together(largest: float, expected: float) -> None:
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([6.0, 0.0]), torch.tensor([8.0])
    one, finite = torch.tensor(1.0), torch.tensor(True)
    norm, _ = clip_gradients([a, b], largest, scale=one, is_finite=finite)
    assert float(norm) == pytest.approx(10.0)
    assert math.hypot(*a.grad.tolist(), *b.grad.tolist()) == pytest.approx(expected, rel=1e-4)


def test_the_papers_decay_at_their_epochs() -> None:
    optim = recipe("soho_r101_12").optim
    epoch = 113287 / 1024
    for last, first, factor in ((24.9, 25.1, 0.1), (34.9, 35.1, 0.01)):
        before = scale(int(last * epoch), optim, total=4425, epoch=epoch)
        after = scale(int(first * epoch), optim, total=4425, epoch=epoch)
        assert (before, after) == pytest.approx((factor * 10, factor))
