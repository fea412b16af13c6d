"""Rectifier and dropout as one operation: the bits of PyTorch's two, and what it keeps."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_fast.layers.relu_dropout import relu_dropout
from vlp_fast.layers.transformer import FeedForward


@pytest.mark.parametrize("rate", [0.1, 0.15, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_values_and_gradients_have_the_bits_of_the_two_operations(
    dtype: torch.dtype, rate: float
) -> None:
    x = torch.randn(67, 31).to(dtype).index_fill(1, torch.tensor([3]), 0.0).requires_grad_()
    grad = torch.randn_like(x)
    found, expected = (
        values_and_gradients(function, x, grad)
        for function in (
            lambda x: relu_dropout(x, rate),
            lambda x: functional.dropout(functional.relu(x), rate),
        )
    )
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert 0 < (found[0] == 0).sum() < x.numel()


def values_and_gradients(function: object, x: Tensor, grad: Tensor) -> list[Tensor]:
    torch.manual_seed(1)
    out = function(x)  # type: ignore[operator]
    return [out, *torch.autograd.grad(out, x, grad)]


def test_it_can_be_differentiated_twice() -> None:
    def seeded(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return relu_dropout(x, 0.3)

    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(seeded, x)
    assert torch.autograd.gradgradcheck(seeded, x)


def hidden_maps(layer: FeedForward) -> int:
    """How many maps of the inner width a forward pass keeps."""
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        if x.shape[-1:] == (24,) and x.dim() == 2 and len(x) == 6:
            kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        layer(torch.randn(6, 8, requires_grad=True))
    return len(kept)


def test_a_feed_forward_network_keeps_one_map_of_its_inner_width() -> None:
    layer = FeedForward(8, 24, activation="relu", dropout=0.1)
    assert hidden_maps(layer) == 1
    assert hidden_maps(layer.eval()) == 1
    layer = FeedForward(8, 24, activation="gelu", dropout=0.1)
    assert hidden_maps(layer) > 1


def test_a_feed_forward_network_heeds_what_its_dropout_became() -> None:
    layer = FeedForward(8, 24, activation="relu", dropout=0.1)
    x = torch.randn(6, 8)
    still = layer.eval()(x)
    assert not torch.equal(layer.train()(x), still)
    for dropout in (nn.Dropout(0.0), nn.Identity()):
        layer.dropout = dropout
        assert torch.equal(layer(x), still)
    layer.dropout = nn.Dropout(1.0)
    assert torch.equal(layer(x), layer.linear2.bias.expand(6, 8))
