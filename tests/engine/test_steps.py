"""A step that is not finite leaves every weight as it was, whichever optimiser it hits."""

import copy
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD, AdamW

from vlp_fast.engine.config import OptimConfig
from vlp_fast.engine.optim import build_optimizers, clip_gradients
from vlp_fast.engine.optimizer_state import flatten, restore
from vlp_fast.tasks.task import Learner


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=torch.channels_last)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        loss: Tensor = self.head(self.backbone(x).mean((2, 3))).square().sum()
        return loss


def optimizers_of(model: TwoParts, config: OptimConfig) -> list[torch.optim.Optimizer]:
    return build_optimizers(Learner(model, None), config)  # type: ignore[arg-type]


def clip(
    parameters: Iterable[nn.Parameter],
    largest: float,
    *,
    scale: float = 1.0,
    is_finite: bool = True,
) -> tuple[Tensor, Tensor]:
    return clip_gradients(
        parameters, largest, scale=torch.tensor(scale), is_finite=torch.tensor(is_finite)
    )


def step(
    model: TwoParts, optimizers: list[torch.optim.Optimizer], *, poison: str | None = None
) -> None:
    scaler = GradScaler("cpu", init_scale=1.0)
    scaler.scale(model(torch.ones(2, 3, 5, 5))).backward()
    if poison:
        gradient = model.get_parameter(poison).grad
        assert gradient is not None
        gradient[(0,) * gradient.dim()] = torch.nan
    clip(model.parameters(), 0.1)
    for optimizer in optimizers:
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        optimizer.zero_grad()


@pytest.mark.parametrize("poison", ["backbone.weight", "head.bias"])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_nan_in_one_half_moves_neither_weights_nor_momenta(kind: str, poison: str) -> None:
    model = TwoParts()
    config = OptimConfig(
        backbone_optimizer=kind,  # type: ignore[arg-type]
        lr=0.1,
        backbone_lr=0.1,
        weight_decay=0.1,
        backbone_weight_decay=0.1,
    )
    optimizers = optimizers_of(model, config)
    step(model, optimizers)
    before = copy.deepcopy((model.state_dict(), flatten(optimizers, model)))
    step(model, optimizers, poison=poison)
    states = [*before[0].items(), *before[1][0].items()]
    after = model.state_dict() | flatten(optimizers, model)[0]
    assert len(states) == len(after) > 9
    for name, value in states:
        assert torch.equal(value, after[name]), name
    step(model, optimizers)
    assert not torch.equal(model.backbone.weight, before[0]["backbone.weight"])


@pytest.mark.parametrize(
    ("loss", "gradient"), [(False, 1.0), (True, torch.inf), (False, torch.nan)]
)
def test_what_is_not_finite_makes_all_gradients_nan(loss: bool, gradient: float) -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, gradient]), torch.tensor([4.0])
    _, is_finite = clip(parameters, 1.0, is_finite=loss)
    assert not is_finite
    assert all(p.grad is not None and p.grad.isnan().all() for p in parameters)


def test_gradients_are_clipped_to_the_norm_of_all_together() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    norm, is_finite = clip(parameters, 1.0)
    assert norm.item() == pytest.approx(5.0)
    assert is_finite
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.0]))
    clip(parameters, 0.0)
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.8]))


def test_the_norm_is_of_gradients_without_the_scale_of_the_losses() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0]) * 1024
    norm, _ = clip([parameter], 1.0, scale=1024.0)
    assert norm.item() == pytest.approx(5.0)
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]) * 1024)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_restored_state_lies_as_its_parameter_and_settings_are_this_runs(kind: str) -> None:
    model = TwoParts()
    config = OptimConfig(backbone_optimizer=kind)  # type: ignore[arg-type]
    optimizers = optimizers_of(model, config)
    step(model, optimizers)
    tensors, numbers = flatten(optimizers, model)
    other = copy.deepcopy(model)
    changed = OptimConfig(backbone_optimizer=kind, weight_decay=0.5)  # type: ignore[arg-type]
    restored = optimizers_of(other, changed)
    restore(restored, other, tensors, numbers)
    assert isinstance(restored[1], SGD if kind == "sgd" else AdamW)
    assert restored[0].param_groups[0]["weight_decay"] == 0.5
    for was, now in zip(optimizers, restored, strict=True):
        for a, b in zip(was.state.values(), now.state.values(), strict=True):
            for name, value in a.items():
                assert torch.equal(value, b[name])
                assert value.stride() == b[name].stride(), name
