"""Held-out pictures and captions ranked against one another, and what is said of it.

A picture that cannot be read is nobody's: it comes last for every text, and no text is found for
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from vlp_fast.errors import InputError
from vlp_fast.metrics.example_set import set_hash
from vlp_fast.metrics.recall import Recall, recall
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.retrieval.config import RetrievalConfig
from vlp_fast.tasks.retrieval.contest import Contest, contest_of
from vlp_fast.tasks.retrieval.held_out_scores import HeldOutScores
from vlp_fast.tasks.retrieval.shortlist import SIDE
from vlp_fast.tasks.sharing import Team
from vlp_fast.tasks.task import Figures

if TYPE_CHECKING:
    from vlp_fast.tasks.retrieval.retrieval import Retrieval

FOLD = 1000
"""Pictures of a fold of COCO's 1K."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """What came of it.

    Attributes:
        recall: the ranks.
        thousands: the same scores in folds of a thousand, where all at once are several of these.
        lines: what the figures are of.
    """

    recall: Recall
    thousands: Recall | None
    lines: tuple[str, ...]

    def figures(self) -> Figures:
        """Recall in percent; that of folds of a thousand is 1k_ir_r1 and so on."""
        shown = self.recall.figures()
        if self.thousands is not None:
            shown |= {f"1k_{name}": value for name, value in self.thousands.figures().items()}
        return shown


def ranked(task: Retrieval, held_out: HeldOut) -> Ranking:
    """Rank what an evaluation looks at; all processes together.

    Raises:
        InputError: if the pictures are no whole folds, scores are NaN, or the folder of `held_out`
            has scores of something else.
    """
    settings, indices = task.settings, held_out.indices
    _check_folds(len(indices), settings.fold, held_out.team)
    size = settings.fold or len(indices)
    contests = [
        contest_of(task.held_out, indices[start : start + size], settings.captions)
        for start in range(0, len(indices), size)
    ]
    every, found, thousands, broken = HeldOutScores(task, held_out), [], None, 0
    for number, contest in enumerate(contests):
        scores = every.of(contest, done=number * size)
        found.append(recall(scores, contest.image_of))
        broken += int(np.isneginf(scores).all(axis=1).sum())
        if not settings.fold and len(indices) > FOLD and len(indices) % FOLD == 0:
            thousands = recall(scores, contest.image_of, fold=FOLD)
    ranks = Recall(
        images=tuple(chain(*(one.images for one in found))),
        texts=tuple(chain(*(one.texts for one in found))),
    )
    every.drop()
    lines = (*_protocol(contests, settings), *_doubts(ranks, contests, broken))
    return Ranking(recall=ranks, thousands=thousands, lines=lines)


def _check_folds(pictures: int, fold: int, team: Team) -> None:
    """Refuse pictures that are no whole folds, before they are ranked."""
    if fold and pictures % fold:
        team.fail(
            InputError(
                f"--task.fold {fold}: {pictures:,} held-out pictures are no whole folds; give a "
                "number that divides them, or 0 for all at once"
            )
        )


def _protocol(contests: Sequence[Contest], settings: RetrievalConfig) -> Iterator[str]:
    pictures = sum(len(contest.indices) for contest in contests)
    texts = [text for contest in contests for text in contest.captions]
    which = "all" if settings.captions == "all" else "at most five"
    how = "all at once"
    pairs = "a shortlist of pairs" if settings.shortlist else "every pair"
    if len(contests) > 1:
        how = f"in {len(contests)} folds of {len(contests[0].indices):,}, whose mean is shown"
    yield (
        f"ranked: {pictures:,} pictures and {len(texts):,} captions ({which} of each, set "
        f"{set_hash(texts)}), {how}, by float32 scores of {pairs}; a picture finds any caption of "
        "its own"
    )
    if settings.shortlist:
        yield (
            f"the shortlist is the best {settings.shortlist} captions of each picture and pictures "
            f"of each caption, by pictures of at most {SIDE} x {SIDE} averaged cells; other pairs "
            "count as worse, and figures are not those of all pairs"
        )


def _doubts(ranks: Recall, contests: Sequence[Contest], broken: int) -> Iterator[str]:
    ties, lucky = ranks.ties(), ranks.first_if_ties_win()
    if any(ties.values()):
        yield (
            f"ties: {ties['ir']:,} captions and {ties['tr']:,} pictures have an equal score beside "
            "their truth, which counts against them; had the truth always come first, ir_r1 would "
            f"be {lucky['ir_r1']:.4f} and tr_r1 {lucky['tr_r1']:.4f}"
        )
    else:
        yield "ties: none"
    if same := sum(contest.shared_captions for contest in contests):
        yield f"{same:,} captions are those of other pictures, too, word for word"
    if broken:
        yield f"{broken:,} pictures cannot be read; they come last, and find nothing"
