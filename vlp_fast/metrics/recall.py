"""Image-text retrieval: recall at K as a function of a matrix of scores, ties counted.

    image retrieval (IR): share of texts whose picture is among the K best pictures
    text retrieval (TR):  share of pictures with any text of their own among the K best texts

An equal score elsewhere counts against the truth: a model that gives the same to all finds nothing.
How many truths have equals is told, with what the figures would be had all of them come first.

Source: Karpathy and Li (CVPR 2015); folds as SCAN (ECCV 2018) has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlp_fast.errors import InputError
from vlp_fast.metrics.score import Figures

KS = (1, 5, 10)
"""Ranks that papers report."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranks:
    """Where the truth of each query stands.

    Attributes:
        better: (n,) int64, candidates with a higher score than the truth; all others if that is
            out of the race.
        equal: (n,) int64, others with the same score.
    """

    better: np.ndarray
    equal: np.ndarray

    def percent(self, k: int, *, wins_ties: bool = False) -> float:
        """Share of queries whose truth is among the first k; NaN of no query."""
        if not len(self.better):
            return float("nan")
        found = (self.better if wins_ties else self.better + self.equal) < k
        return 100 * int(found.sum()) / len(found)

    @property
    def ties(self) -> int:
        """Queries whose truth has an equal."""
        return int((self.equal > 0).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Recall:
    """Both ways, over one set of candidates or several.

    Attributes:
        images: of each fold, ranks of the pictures that texts ask for.
        texts: of each fold, ranks of the best own text of each picture that has one.
    """

    images: tuple[Ranks, ...]
    texts: tuple[Ranks, ...]

    def figures(self) -> Figures:
        """Percentages: ir_r1, ir_r5, ir_r10, tr_r1, tr_r5, tr_r10; the mean of folds each.

        And `recall_mean`, of all six.
        """
        shown = {
            f"{way}_r{k}": _mean([ranks.percent(k) for ranks in folds])
            for way, folds in self._ways()
            for k in KS
        }
        return shown | {"recall_mean": _mean(list(shown.values()))}

    def ties(self) -> dict[str, int]:
        """By way, how many queries have an equal to their truth."""
        return {way: sum(ranks.ties for ranks in folds) for way, folds in self._ways()}

    def first_if_ties_win(self) -> Figures:
        """R@1 both ways, had the truth come first of its equals."""
        return {
            f"{way}_r1": _mean([ranks.percent(1, wins_ties=True) for ranks in folds])
            for way, folds in self._ways()
        }

    def _ways(self) -> Iterator[tuple[str, tuple[Ranks, ...]]]:
        yield "ir", self.images
        yield "tr", self.texts


def recall(scores: np.ndarray, image_of: Sequence[int], *, fold: int = 0) -> Recall:
    """Rank a matrix of scores.

    Args:
        scores: (B, S) float, of each picture with each text; -inf for a pair that is out of the
            race. (With folds only pairs within a fold are looked at.)
        image_of: the picture of each of the S texts; a picture may have any number of them.
        fold: pictures of a fold, one behind another; 0 for all at once.

    Raises:
        InputError: for NaN among the scores, or pictures that are no whole folds.
        ValueError: if there are not as many columns as texts, or a text of no picture.
    """
    owners = np.asarray(image_of, dtype=np.int64)
    _check(scores, owners, fold)
    size = fold or max(len(scores), 1)
    both = [
        _fold_ranks(scores, owners, start, start + size) for start in range(0, len(scores), size)
    ]
    return Recall(images=tuple(ir for ir, _ in both), texts=tuple(tr for _, tr in both))


def _fold_ranks(
    scores: np.ndarray, owners: np.ndarray, first: int, end: int
) -> tuple[Ranks, Ranks]:
    """Ranks of pictures and of texts among pictures [first, end) and their texts.

    A row at a time: the matrix may be larger than what is left of the memory.
    """
    columns = np.flatnonzero((owners >= first) & (owners < end))
    own = scores[owners[columns], columns]
    better, equal = np.zeros(len(own), np.int64), np.full(len(own), -1, np.int64)
    best, of_best = [], []
    for image in range(first, min(end, len(scores))):
        row, is_own = scores[image, columns], owners[columns] == image
        if np.isnan(row).any():
            raise InputError(
                f"recall: the scores of picture {image} hold NaN, which ranks nowhere; expected "
                "numbers: look at the model's weights and its number format"
            )
        better += row > own
        equal += row == own
        if is_own.any():
            best.append(row[is_own].max())
            of_best.append(((row[~is_own] > best[-1]).sum(), (row[~is_own] == best[-1]).sum()))
    images = _ranks(own, better, equal)
    counts = np.array(of_best, dtype=np.int64).reshape(-1, 2)
    return images, _ranks(np.array(best), counts[:, 0], counts[:, 1])


def _ranks(truth: np.ndarray, better: np.ndarray, equal: np.ndarray) -> Ranks:
    """Ranks of truths with these scores; what is out of the race has no equals, but loses."""
    is_out = np.isneginf(truth)
    return Ranks(better=np.where(is_out, better + equal, better), equal=np.where(is_out, 0, equal))


def _check(scores: np.ndarray, owners: np.ndarray, fold: int) -> None:
    is_known = not len(owners) or (owners.min() >= 0 and owners.max() < len(scores))
    if scores.ndim != 2 or scores.shape[1] != len(owners) or not is_known:
        raise ValueError(
            f"recall: received scores {scores.shape} and {len(owners)} texts, expected (B, S) with "
            "a column for each text, and a row for the picture of each"
        )
    if fold and (len(scores) % fold or not len(scores)):
        raise InputError(
            f"{len(scores):,} pictures are no whole folds of {fold:,}; give a number that divides "
            "them, or 0 for all at once"
        )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
