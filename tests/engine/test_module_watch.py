"""Whoever looks into a step is told which module was not finite first, and for which samples."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlp_fast.engine.module_watch import GRADIENT, LOSS, OUTPUT, STATISTICS, WEIGHTS, ModuleWatch
from vlp_fast.engine.tensor_summary import Summary, summary_of


class Pair(NamedTuple):
    """What a module may return besides a tensor."""

    rows: Tensor
    numbers: Tensor


class Spoil(nn.Module):
    """Gives infinity where a row begins with more than 5, forward or backward; in a tuple."""

    def __init__(self, *, backward: bool) -> None:
        super().__init__()
        self.backward = backward

    def forward(self, x: Tensor) -> Pair:
        is_bad = x.detach()[:, :1] > 5
        if self.backward:
            inner = x + 0
            inner.register_hook(lambda gradient: torch.where(is_bad, torch.inf, gradient))
            x = inner * 1
        else:
            x = torch.where(is_bad, torch.inf, x)
        return Pair(x, torch.arange(3))


class Net(nn.Module):
    """Linear, in-place ReLU, what spoils, batch norm."""

    def __init__(self, spoil: nn.Module) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.first.weight.data.copy_(torch.eye(2))
        self.first.bias.data.zero_()
        self.relu = nn.ReLU(inplace=True)
        self.spoil = spoil
        self.norm = nn.BatchNorm1d(2)
        self.is_recomputed = False

    def body(self, x: Tensor) -> Tensor:
        x = self.spoil(self.relu(self.first(x)))
        return self.norm(x[0] if isinstance(x, tuple) else x)

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(self.body, x, use_reentrant=False) if self.is_recomputed else self.body(x)
        return x.square().mean()


ROWS = torch.tensor([[1.0, 2.0], [3.0, 1.0], [9.0, 1.0], [2.0, 4.0]])


def watched(net: Net, x: Tensor = ROWS, factor: float = 1.0) -> ModuleWatch:
    with ModuleWatch(net, len(x)) as watch:
        loss = net(x)
        watch.losses({"square": loss * factor})
        (loss * factor).backward()
        watch.weights()
    return watch


def first(watch: ModuleWatch) -> Any:
    return next((seen for seen in watch.seen if seen.summary.non_finite), None)


@pytest.mark.parametrize("recomputed", [False, True])
def test_an_output(recomputed: bool) -> None:
    net = Net(Spoil(backward=False))
    net.is_recomputed = recomputed
    watch = watched(net)
    found = first(watch)
    assert (found.module, found.kind, found.what) == ("spoil", "Spoil", OUTPUT)
    assert found.is_fed_finite
    assert found.rows == (2,)
    assert found.summary == Summary(count=8, non_finite=2, low=1.0, high=4.0)
    outputs = [seen for seen in watch.seen if seen.what == OUTPUT]
    assert [seen.module for seen in outputs] == ["first", "relu", "spoil", "norm"]  # each once
    assert [seen.is_fed_finite for seen in outputs] == [True, True, True, False]
    assert not any(hook for module in net.modules() for hook in module._forward_hooks)


@pytest.mark.parametrize("recomputed", [False, True])
def test_a_gradient(recomputed: bool) -> None:
    """Behind the module that made it, in the order of the backward pass: in front of it."""
    net = Net(Spoil(backward=True))
    net.is_recomputed = recomputed
    found = first(watched(net))
    assert (found.module, found.what, found.rows) == ("relu", GRADIENT, (2,))


def test_a_gradient_of_weights_alone() -> None:
    """Finite gradients of outputs whose sum over the rows overflows."""
    net = Net(nn.Identity())
    net.norm.weight.register_hook(lambda gradient: gradient * torch.inf)
    found = first(watched(net))
    assert (found.module, found.kind, found.what) == ("norm", "BatchNorm1d", WEIGHTS)


def test_a_loss_alone() -> None:
    found = first(watched(Net(nn.Identity()), factor=torch.inf))
    assert (found.module, found.what) == ("square", LOSS)


def test_statistics_alone_and_a_mask_that_is_none() -> None:
    net = Net(nn.Identity())
    net.relu.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert first(watched(net)) is None
    # Of two rows the variance that is kept is twice the one that is divided by.
    net.norm.momentum = 1.0
    found = first(watched(net, torch.tensor([[2.7e19, 0.0], [0.0, 0.0]])))
    assert (found.module, found.kind, found.what) == ("norm", "BatchNorm1d", STATISTICS)


def test_nothing() -> None:
    watch = watched(Net(nn.Identity()))
    assert first(watch) is None
    assert {seen.what for seen in watch.seen} == {OUTPUT, GRADIENT, WEIGHTS, LOSS}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_four_numbers(dtype: torch.dtype) -> None:
    x = torch.tensor([[torch.nan, -2.0, torch.inf], [3.0, 0.5, -torch.inf]], dtype=dtype)
    expected = Summary(count=6, non_finite=3, low=-2.0, high=3.0)
    assert summary_of(x) == expected
    assert expected.largest == 3.0
    nothing = summary_of(x[:, :0])
    assert nothing == Summary()
    none = summary_of(x[:, 2])
    assert none == Summary(count=2, non_finite=2)
    assert expected + none + nothing == Summary(count=8, non_finite=5, low=-2.0, high=3.0)
