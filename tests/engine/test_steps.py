"""A step that is not finite leaves every weight as it was, whichever optimiser it hits."""

import copy

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


def step(
    model: TwoParts, optimizers: list[torch.optim.Optimizer], *, poison: str | None = None
) -> None:
    scaler = GradScaler("cpu", init_scale=1.0)
    scaler.scale(model(torch.ones(2, 3, 5, 5))).backward()
    if poison:
        gradient = model.get_parameter(poison).grad
        assert gradient is not None
        gradient[(0,) * gradient.dim()] = torch.nan
    for optimizer in optimizers:
        scaler.unscale_(optimizer)
    clip_gradients(model.parameters(), 0.1)
    for optimizer in optimizers:
        scaler.step(optimizer)
        optimizer.zero_grad()


@pytest.mark.parametrize("poison", ["backbone.weight", "head.bias"])
def test_a_nan_in_one_half_does_not_reach_the_other(poison: str) -> None:
    model = TwoParts()
    before = copy.deepcopy(model.state_dict())
    config = OptimConfig(backbone_optimizer="sgd", weight_decay=0.0, backbone_weight_decay=0.0)
    step(model, optimizers_of(model, config), poison=poison)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_gradients_are_clipped_to_the_norm_of_all_together() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert clip_gradients(parameters, 1.0).item() == pytest.approx(5.0)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.0]))
    clip_gradients(parameters, 0.0)
    torch.testing.assert_close(parameters[1].grad, torch.tensor([0.8]))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_restored_state_lies_as_its_parameter_and_settings_are_this_runs(kind: str) -> None:
    model = TwoParts()
    config = OptimConfig(backbone_optimizer=kind)  # type: ignore[arg-type]
    optimizers = optimizers_of(model, config)
    step(model, optimizers)
    tensors, numbers = flatten(optimizers)
    other = copy.deepcopy(model)
    changed = OptimConfig(backbone_optimizer=kind, weight_decay=0.5)  # type: ignore[arg-type]
    restored = optimizers_of(other, changed)
    restore(restored, tensors, numbers)
    assert isinstance(restored[1], SGD if kind == "sgd" else AdamW)
    assert restored[0].param_groups[0]["weight_decay"] == 0.5
    for was, now in zip(optimizers, restored, strict=True):
        for a, b in zip(was.state.values(), now.state.values(), strict=True):
            for name, value in a.items():
                assert torch.equal(value, b[name])
                assert value.stride() == b[name].stride(), name
