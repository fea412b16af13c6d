"""Scores of held-out pictures with captions: processes share the work, a folder keeps what is done.

A ranking may be of several folds, and of coarse looks before that; rows of all of them stay until
figures are made of the whole, so a kill costs nobody what was finished.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vlp_fast.errors import InputError
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.retrieval.contest import Contest, groups_of
from vlp_fast.tasks.retrieval.kept_scores import KeptScores
from vlp_fast.tasks.retrieval.provenance import digest_of_weights, scores_depend_on
from vlp_fast.tasks.retrieval.scoring import Look
from vlp_fast.tasks.retrieval.shortlist import coarse, shortlisted
from vlp_fast.tasks.retrieval.texts import Texts
from vlp_fast.tasks.sharing import shared

if TYPE_CHECKING:
    from vlp_fast.tasks.retrieval.retrieval import Retrieval


class HeldOutScores:
    """Matrices of scores, one for each contest of an evaluation; all processes ask for them alike.

    Args:
        task: whose model scores.
        held_out: what is scored, by whom, and where it is kept.
    """

    def __init__(self, task: Retrieval, held_out: HeldOut) -> None:
        self._task = task
        self._held_out = held_out
        self._kept: list[KeptScores] = []

    def of(self, contest: Contest, *, done: int = 0) -> np.ndarray:
        """(B, S) float32, of every picture with every caption.

        -inf for a picture that is broken, and for pairs that are not on the shortlist, if there is
        one.

        Args:
            contest: B pictures and S captions.
            done: pictures of other contests that are scored, for the progress.

        Raises:
            InputError: for scores that are NaN, or a folder with scores of something else.
        """
        texts = Texts([self._task.encode(text) for text in contest.captions])
        kept = self._opened(contest, texts, "ranking")  # first: it may be refused
        count, wanted = self._task.settings.shortlist, None
        if count:
            of_coarse = self._opened(contest, texts, "coarse")
            wanted = shortlisted(self._distinct(contest, texts, of_coarse, changed=coarse), count)
        total, progress = self._held_out.count, self._held_out.progress
        told = lambda pictures: progress(done + pictures, total)
        scores = self._distinct(contest, texts, kept, wanted=wanted, told=told)
        return scores[:, texts.places]

    def drop(self) -> None:
        """Delete what is kept: figures are made of it."""
        for kept in self._kept:
            kept.drop()

    def _distinct(
        self,
        contest: Contest,
        texts: Texts,
        kept: KeptScores,
        *,
        wanted: np.ndarray | None = None,
        changed: Callable[[Look], Look] = lambda look: look,
        told: Callable[[int], None] = lambda pictures: None,
    ) -> np.ndarray:
        """(B, S) float32 of S distinct texts."""
        task, held_out = self._task, self._held_out
        groups = groups_of(task.held_out, contest.indices, len(texts))
        place_of = {index: place for place, index in enumerate(contest.indices)}
        places = [[place_of[index] for index in group] for group in groups]
        scorer = task.scorer(held_out.runtime)

        def measure(number: int) -> np.ndarray:
            group, own = groups[number], None if wanted is None else wanted[places[number]]

            def compute() -> np.ndarray:
                show = task.show_held_out
                return scorer.group_scores(group, show, texts, wanted=own, changed=changed)[0]

            return kept.get(number, (len(group), len(texts)), compute)

        scores, done = np.empty((len(contest.indices), len(texts)), np.float32), 0
        results = shared(held_out.team, len(groups), iter, measure, visit=held_out.visit, rounds=1)
        for own_places, rows in zip(places, results, strict=True):
            scores[own_places] = rows
            done += len(rows)
            told(done)
        return scores

    def _opened(self, contest: Contest, texts: Texts, name: str) -> KeptScores:
        """The folder of one matrix; the first process opens it, and what is wrong is so for all."""
        folder, team = self._held_out.folder, self._held_out.team
        if folder is None:
            return KeptScores(None, {})
        kept = KeptScores(
            folder / f"{name}-from-{contest.indices[0]}",
            scores_depend_on(
                self._task, self._held_out.runtime, contest.indices, texts, model=self._model
            ),
        )
        if team.rank == 0:
            try:
                kept.open()
            except InputError as error:
                team.fail(error)
        team.all_values(None)
        self._kept.append(kept)
        return kept

    @cached_property
    def _model(self) -> str:
        return digest_of_weights(self._task.learner.model)
