"""Classifiers over [CLS], by the names of those who use them.

Source: the published code of each: SOHO's head of VQA, LXMERT's and UNITER's, ViLT's and METER's,
ERNIE-ViL's. E2E-VLP does not say what its is.

Of two pictures a head reads both [CLS] joined as if they were one row. LXMERT and ViLT do so for
NLVR2 with a pooler over each [CLS] alone and a layer half as wide (2d to 2d), which are not here;
UNITER has one linear layer.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

BERT_EPS = 1e-12


def build_classifier(name: str, width: int, classes: int) -> nn.Module:
    """Build a classifier.

    Args:
        name: a key of `CLASSIFIERS`.
        width: D, of what it reads.
        classes: C.

    Returns:
        A module from (N, D) to (N, C) logits.
    """
    return CLASSIFIERS[name](width, classes)


def _linear(width: int, classes: int) -> nn.Module:
    return nn.Linear(width, classes)


def _soho(width: int, classes: int) -> nn.Module:
    """Four times as wide inside (3,072 of 768), Kaiming-normal."""
    head = nn.Sequential(
        nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4 * width, classes)
    )
    for module in head:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return head


def _lxmert(width: int, classes: int) -> nn.Module:
    return nn.Sequential(
        *_pooler(width),
        nn.Linear(width, 2 * width),
        nn.GELU(),
        nn.LayerNorm(2 * width, eps=BERT_EPS),
        nn.Linear(2 * width, classes),
    )


def _vilt(width: int, classes: int) -> nn.Module:
    return nn.Sequential(
        *_pooler(width),
        nn.Linear(width, 2 * width),
        nn.LayerNorm(2 * width),
        nn.GELU(),
        nn.Linear(2 * width, classes),
    )


def _ernie_vil(width: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, 2048), nn.ReLU(), nn.Dropout(0.5), nn.Linear(2048, classes)
    )


def _pooler(width: int) -> tuple[nn.Module, nn.Module]:
    """BERT's, in front of the head."""
    return nn.Linear(width, width), nn.Tanh()


CLASSIFIERS: dict[str, Callable[[int, int], nn.Module]] = {
    "linear": _linear,
    "soho": _soho,
    "lxmert": _lxmert,
    "vilt": _vilt,
    "ernie_vil": _ernie_vil,
}
