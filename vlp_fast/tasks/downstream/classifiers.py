"""Classifiers over [CLS], by the names of those who use them.

Source: the published code of each: SOHO's head of VQA, LXMERT's and UNITER's, ViLT's and METER's,
ERNIE-ViL's; for pairs InferSent's (Conneau et al., EMNLP 2017). E2E-VLP does not say what its is.

Of two pictures (NLVR2) a head reads both [CLS] joined. LXMERT and ViLT have a pooler in front that
reads each [CLS] alone, and behind it a layer as wide as for one picture: 2d to 2d, where it is d to
2d. UNITER has one linear layer. Others say nothing of two: theirs read them as one row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BERT_EPS = 1e-12


def build_classifier(name: str, width: int, classes: int, *, pictures: int = 1) -> nn.Module:
    """Build a classifier.

    Args:
        name: a key of `CLASSIFIERS`.
        width: D, of a [CLS].
        classes: C.
        pictures: P, of a sample.

    Returns:
        A module from (N, P D), the [CLS] of each picture side by side, to (N, C) logits.
    """
    return CLASSIFIERS[name](width, pictures, classes)


def _linear(width: int, pictures: int, classes: int) -> nn.Module:
    return nn.Linear(pictures * width, classes)


def _soho(width: int, pictures: int, classes: int) -> nn.Module:
    """Four times as wide inside (3,072 of 768), Kaiming-normal."""
    joined = pictures * width
    head = nn.Sequential(
        nn.Linear(joined, 4 * joined), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4 * joined, classes)
    )
    for module in head:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return head


def _lxmert(width: int, pictures: int, classes: int) -> nn.Module:
    return nn.Sequential(
        Pooler(width, width),
        nn.Tanh(),
        nn.Linear(pictures * width, 2 * width),
        nn.GELU(),
        nn.LayerNorm(2 * width, eps=BERT_EPS),
        nn.Linear(2 * width, classes),
    )


def _vilt(width: int, pictures: int, classes: int) -> nn.Module:
    return nn.Sequential(
        Pooler(width, width),
        nn.Tanh(),
        nn.Linear(pictures * width, 2 * width),
        nn.LayerNorm(2 * width),
        nn.GELU(),
        nn.Linear(2 * width, classes),
    )


def _ernie_vil(width: int, pictures: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(pictures * width, 2048), nn.ReLU(), nn.Dropout(0.5), nn.Linear(2048, classes)
    )


def _infersent(width: int, pictures: int, classes: int) -> nn.Module:
    return nn.Sequential(
        Comparison(width),
        nn.Linear((3 * pictures - 2) * width, 512),
        nn.Tanh(),
        nn.Linear(512, classes),
    )


class Comparison(nn.Module):
    """[CLS] side by side, and of neighbours the absolute difference and the product.

    A layer behind it is told where two pictures are the same, which no sum of theirs says.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """(N, P D) to (N, (3 P - 2) D)."""
        each = x.unflatten(1, (-1, self.width))
        left, right = each[:, :-1], each[:, 1:]
        return torch.cat([each, (left - right).abs(), left * right], dim=1).flatten(1)


class Pooler(nn.Linear):
    """BERT's in front of a head, but for tanh: one layer that reads each [CLS] of a row alone."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, P D) to (N, P D)."""
        each = input.unflatten(1, (-1, self.in_features))
        return super().forward(each).flatten(1)


CLASSIFIERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "linear": _linear,
    "soho": _soho,
    "lxmert": _lxmert,
    "vilt": _vilt,
    "ernie_vil": _ernie_vil,
    "infersent": _infersent,
}
