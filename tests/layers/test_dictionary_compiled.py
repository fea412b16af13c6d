"""Dictionaries compiled by Inductor leave the state, and give the values, that eager ones do.

Its loops are cut into vectors of 8 or 16 numbers and fused: sizes are, and are not, multiples of
each other and of those.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlp_fast

ROWS = 70
pytestmark = pytest.mark.slow


def assert_same_training(layer: nn.Module, step: Callable[[nn.Module, Tensor], Any]) -> None:
    """Two steps, of which the latter meets codes that are used and codes that are not."""
    torch._dynamo.reset()
    other = copy.deepcopy(layer)
    compiled = torch.compile(other, fullgraph=True)
    for seed in range(2):
        x = torch.randn(ROWS, layer.width, generator=torch.Generator().manual_seed(seed))
        found = []
        for run in (layer, compiled):
            leaf = x.clone().requires_grad_()
            torch.manual_seed(seed)
            out = step(run, leaf)
            sum(part.square().sum() for part in out if part.requires_grad).backward()
            found.append([*(part.detach() for part in out), leaf.grad])
        for traced, wanted in zip(found[1], found[0], strict=True):
            torch.testing.assert_close(traced, wanted, rtol=1e-5, atol=1e-5)
        expected = layer.state_dict()
        for name, value in other.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=name)


class Dictionary(nn.Module):
    """With a mask, and the loss."""

    def __init__(self, width: int, codes: int, **options: Any) -> None:
        super().__init__()
        self.width = width
        self.dictionary = vlp_fast.VisualDictionary(codes, width, 0.9, **options)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        return self.dictionary.quantise(x, valid)


@pytest.mark.parametrize(
    ("semantics", "revival", "codes", "width"),
    [
        ("paper", None, 40, 16),
        ("paper", 0.5, 37, 24),
        ("official", None, 37, 24),
        ("official", 0.5, 40, 16),
    ],
)
def test_a_compiled_dictionary(semantics, revival, codes, width) -> None:
    layer = Dictionary(width, codes, semantics=semantics, revival=revival)
    valid = torch.arange(ROWS) % 5 != 2
    before = layer.dictionary.embed.clone()
    assert_same_training(layer, lambda run, x: run(x, valid))
    assert not torch.equal(layer.dictionary.embed, before)


@pytest.mark.parametrize("revival", [None, 0.5])
def test_a_compiled_dictionary_without_gradients_gives_the_old_codes(revival) -> None:
    torch._dynamo.reset()
    dictionary = vlp_fast.VisualDictionary(16, 16, revival=revival)
    before = dictionary.embed.clone()
    quantised, indices = torch.compile(dictionary)(torch.randn(40, 16))
    assert torch.equal(quantised, before[indices])
    assert not torch.equal(dictionary.embed, before)


class Quantizer(nn.Module):
    """With what a program may do to the output, in the same graph."""

    def __init__(self, width: int, codes: int, **options: Any) -> None:
        super().__init__()
        self.width = width
        self.quantizer = vlp_fast.VectorQuantize(width, codes, **options)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        quantised, indices, loss = self.quantizer(x)
        return nn.functional.relu(quantised, inplace=True), indices, loss


@pytest.mark.parametrize(("rotation_trick", "codes", "width"), [(True, 40, 16), (False, 37, 24)])
def test_a_compiled_quantizer(rotation_trick, codes, width) -> None:
    layer = Quantizer(width, codes, rotation_trick=rotation_trick)
    layer.quantizer.codebook = torch.randn(codes, width)
    assert_same_training(layer, lambda run, x: run(x))


def test_a_compiled_quantizer_replaces_dead_codes_after_the_search() -> None:
    """Which rows become codes is drawn, by Inductor's own generator."""
    torch._dynamo.reset()
    quantizer = vlp_fast.VectorQuantize(16, 40, threshold_ema_dead_code=0.9)
    quantizer.codebook = before = torch.randn(40, 16)
    x = torch.randn(ROWS, 16)
    quantised, indices, _ = torch.compile(quantizer)(x)
    torch.testing.assert_close(quantised, before[indices])
    is_row = (quantizer.codebook[:, None] == x).all(-1).any(1)
    assert is_row.sum() > 5
    assert (quantizer._codebook.cluster_size[0] >= 0.9 - 1e-6).all()
    torch.testing.assert_close(
        quantizer._codebook.embed_avg[0][is_row], 0.9 * quantizer.codebook[is_row]
    )
