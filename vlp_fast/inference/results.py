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
