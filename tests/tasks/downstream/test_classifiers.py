"""Heads over [CLS] equal their formulas, written out by hand in float64."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_fast.tasks.downstream.classifiers import CLASSIFIERS, build_classifier

WIDTH, CLASSES = 12, 7


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def norm(x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def layers(head: nn.Module) -> list[nn.Linear]:
    return [module for module in head.modules() if isinstance(module, nn.Linear)]


def by_hand(name: str, head: nn.Module, x: Tensor) -> Tensor:
    apply = [lambda x, m=m: x @ m.weight.T + m.bias for m in layers(head)]
    if name == "linear":
        return apply[0](x)
    if name in ("soho", "ernie_vil"):
        return apply[1](apply[0](x).clamp(min=0))
    if name == "infersent":
        first, *others = x.split(WIDTH, -1)
        compared = [(first - other).abs() for other in others] + [first * o for o in others]
        return apply[1](torch.tanh(apply[0](torch.cat([x, *compared], -1))))
    pooled = torch.cat([torch.tanh(apply[0](cls)) for cls in x.split(WIDTH, -1)], -1)
    if name == "lxmert":
        return apply[2](norm(gelu(apply[1](pooled)), 1e-12))
    return apply[2](gelu(norm(apply[1](pooled), 1e-5)))


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_equals_its_formula(name: str, pictures: int) -> None:
    head = build_classifier(name, WIDTH, CLASSES, pictures=pictures).double().eval()
    x = torch.randn(5, pictures * WIDTH, dtype=torch.float64)
    torch.testing.assert_close(head(x), by_hand(name, head, x))


@pytest.mark.parametrize(
    ("name", "pictures", "sizes"),
    [
        ("linear", 1, [(12, 7)]),
        ("linear", 2, [(24, 7)]),
        ("soho", 1, [(12, 48), (48, 7)]),
        ("soho", 2, [(24, 96), (96, 7)]),
        ("lxmert", 1, [(12, 12), (12, 24), (24, 7)]),
        ("lxmert", 2, [(12, 12), (24, 24), (24, 7)]),
        ("vilt", 1, [(12, 12), (12, 24), (24, 7)]),
        ("vilt", 2, [(12, 12), (24, 24), (24, 7)]),
        ("ernie_vil", 1, [(12, 2048), (2048, 7)]),
        ("ernie_vil", 2, [(24, 2048), (2048, 7)]),
        ("infersent", 1, [(12, 512), (512, 7)]),
        ("infersent", 2, [(48, 512), (512, 7)]),
    ],
)
def test_sizes(name: str, pictures: int, sizes: list[tuple[int, int]]) -> None:
    """Of two pictures, LXMERT's and ViLT's pool each alone, and are as wide behind it as of one."""
    head = build_classifier(name, WIDTH, CLASSES, pictures=pictures)
    assert [(layer.in_features, layer.out_features) for layer in layers(head)] == sizes


@pytest.mark.parametrize("name", ["soho", "ernie_vil"])
def test_half_is_dropped_in_training(name: str) -> None:
    head = build_classifier(name, WIDTH, CLASSES)
    dropouts = [module.p for module in head.modules() if isinstance(module, nn.Dropout)]
    assert dropouts == [0.5]
    x = torch.randn(64, WIDTH)
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))
    assert functional.mse_loss(head.train()(x), head.eval()(x)) > 0
