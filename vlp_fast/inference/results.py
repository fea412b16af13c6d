"""What a model says about a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """What is found in a picture, the surest first.

    Attributes:
        boxes: (n, 4) float32, (x1, y1, x2, y2) in pixels of the upright picture.
        labels: the class of each.
        scores: (n,) float32, its probability.
        attributes: the likeliest attribute of each; () if the model knows none.
    """

    boxes: np.ndarray
    labels: tuple[str, ...]
    scores: np.ndarray
    attributes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A caption that beam search found.

    Attributes:
        text: of it.
        score: by which captions are ranked: log P / lp(n) of n words, the end counted.
        log_probability: log P of its words and its end.
        ended: False where it was cut at the most words that the model has learnt to write.
    """

    text: str
    score: float
    log_probability: float
    ended: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class TextAttention:
    """How much the tokens of a text look at the cells of a picture.

    Attributes:
        words: L tokens of the text, [CLS] and [SEP] among them.
        weights: (A, N, L, h, w) float32, of A layers and N heads; what is missing to a sum of 1
            over the cells looks at the text.
    """

    words: tuple[str, ...]
    weights: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectAttention:
    """How much the queries that found objects look at the cells of a picture.

    Attributes:
        objects: n of them.
        weights: (A, N, n, h, w) float32, of A decoder layers and N heads; what is missing to a sum
            of 1 over the cells looks at the text, if one is read.
    """

    objects: Objects
    weights: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer out of those that a model knows.

    Attributes:
        text: the best one.
        score: its probability; of VQA's answers each has its own, which need not add up to 1.
        ranked: the best ones with their scores, falling.
    """

    text: str
    score: float
    ranked: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A text whose masked words a model has filled in.

    Attributes:
        text: with the likeliest word in each place.
        words: of each place the likeliest words with their probabilities, falling.
    """

    text: str
    words: tuple[tuple[tuple[str, float], ...], ...]
