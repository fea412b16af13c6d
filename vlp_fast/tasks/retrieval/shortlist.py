"""A shortlist, for who asks for one: pairs that a coarse look finds promising, others unscored.

The coarse look is the model's own, at pictures whose cells are averaged to a few: the Transformer
reads some twenty rows in place of a hundred or a thousand. What it passes over is lost, so figures
with a shortlist are not those of all pairs, and the output says so.
"""

from __future__ import annotations

import numpy as np
from torch.nn import functional

from vlp_fast.tasks.retrieval.scoring import Look

SIDE = 4
"""Cells a side of a coarse look, at most."""


def coarse(look: Look) -> Look:
    """A picture's cells averaged to a few; positions are relative, and stay what they were."""
    height, width = look.size
    size = (min(height, SIDE), min(width, SIDE))
    map_ = look.cells.float().T.unflatten(1, look.size)
    cells = functional.adaptive_avg_pool2d(map_, size).flatten(1).T
    return Look(cells=cells.to(look.cells.dtype), size=size)


def shortlisted(scores: np.ndarray, count: int) -> np.ndarray:
    """(B, S) bool, whether a pair is among the best of its picture's, or of its text's.

    Args:
        scores: (B, S) float of coarse looks; -inf is of no picture.
        count: how many of each; of equal ones those that come first.
    """
    chosen = np.zeros(scores.shape, dtype=bool)
    for of_one, row in zip(scores, chosen, strict=True):
        row[np.argsort(-of_one, kind="stable")[:count]] = True
    for of_one, column in zip(scores.T, chosen.T, strict=True):
        column[np.argsort(-of_one, kind="stable")[:count]] = True
    return chosen & ~np.isneginf(scores)
