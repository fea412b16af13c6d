"""Prediction heads of both models: words, matching, classes, attributes, boxes.

Word heads score words by the matrix of the text embeddings. They do not own that matrix: it is an
argument of `forward`, so it exists once among the model's parameters and in its saved weights.

Shape suffixes: M rows, D width, V vocabulary.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_fast.ops.operands import no_autocast

INIT_STD = 0.02
"""Standard deviation of BERT's initial weights."""


class MaskedLanguageHead(nn.Module):
    """Computes a logit for every word: transform(hidden) @ word_embeddings.T + bias.

    Args:
        width: D, features per row.
        vocab_size: V.
        transform: a dense layer, GELU and layer norm in front, as in BERT (E2E-VLP's captioning and
            SOHO's published code have none).
        bias: a bias per word (SOHO's published code has none).
    """

    def __init__(
        self, width: int, vocab_size: int, *, transform: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        self.transform = _WordTransform(width) if transform else None
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if bias else None

    def forward(self, hidden: Tensor, word_embeddings: Tensor) -> Tensor:
        """Maps (M, D) hidden rows and the (V, D) word embeddings to (M, V) logits."""
        hidden = hidden if self.transform is None else self.transform(hidden)
        return F.linear(hidden, word_embeddings, self.bias)


class MatchingHead(nn.Linear):
    """Computes two logits from the hidden state of [CLS]; index 1 means that text and image match.

    (S, D) -> (S, 2). `bias=False` is SOHO's published code.
    """

    def __init__(self, width: int, *, bias: bool = True) -> None:
        super().__init__(width, 2, bias=bias)
        _initialise(self)


class ClassHead(nn.Linear):
    """Computes logits of `num_classes` classes and, last, of "none": (..., D) -> (..., C + 1).

    Serves object classes (none: "no object") and attributes (none: "no attribute").
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__(width, num_classes + 1)
        # Even odds to start with, as in DETR: its weight of 0.1 on "no object" does a prior's work.
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


class BoxHead(nn.Module):
    """Computes boxes by a three-layer perceptron and a sigmoid, as DETR does.

    Args:
        width: D, features per row and inner width.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, out) for out in (width, width, 4)])

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps (..., D) to (..., 4) boxes (cx, cy, w, h) in [0, 1] of the image's own size.

        Never below float32: half precision has too few bits for a coordinate.
        """
        first, second, last = (cast(nn.Linear, layer) for layer in self.layers)
        inner = second(first(hidden).relu()).relu()
        wide = torch.promote_types(last.weight.dtype, torch.float32)
        weight, bias = last.weight.to(wide), last.bias.to(wide)
        with no_autocast(hidden):
            return F.linear(inner.to(wide), weight, bias).sigmoid()


class _WordTransform(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        _initialise(self.dense)

    def forward(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.norm(F.gelu(self.dense(hidden)))
        return normed


def _initialise(linear: nn.Linear) -> None:
    nn.init.normal_(linear.weight, std=INIT_STD)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
