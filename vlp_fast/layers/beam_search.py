"""Beam search for the texts of a batch: no word waits for the device.

A text Y of n words, the end word counted and the start left out, is worth

    score(Y) = log P(Y) / lp(n)        lp(n) = ((5 + n) / 6)^alpha

(Wu et al., 2016, eq. 14, without their coverage). A step ranks the continuations of all beams.
Those among the best B that end a text are finished, and the best finished one is kept; the best B
that go on are the beams of the next step. Of equal continuations that of the better beam comes
first, then the lower word.

When does a text stop? Peers know three rules: when the best beam has ended (PALM, mPLUG, of
E2E-VLP's authors), when B texts have finished, and when no beam can overtake the best finished text
any more, log P / lp(L) being the most that one can reach (Tensor2Tensor). Here it is the last one,
alone. It takes nothing away: going on to L words gives the same text, so the result does not depend
on when a search stops, the host may learn of it late (`LateFlag`), and a search that is wide enough
finds the best text there is. The other two take a worse text for an earlier end.
`beam_hypotheses` keeps the best K finished texts by the same rules, the first of which is that of
`beam_search`.

Shape suffixes: S texts, B beams, V words, L longest text, C continuations that are ranked, K texts
that are kept.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vlp_fast.layers.language_model import (
    LanguageModel,
    State,
    Texts,
    check_length,
    check_search,
    log_probability,
)
from vlp_fast.layers.largest import largest
from vlp_fast.layers.late_flag import LateFlag


@torch.no_grad()
def beam_search(
    model: LanguageModel[State],
    *,
    end_id: int,
    max_length: int,
    num_beams: int = 4,
    alpha: float = 0.9,
) -> Texts:
    """Writes the text of each that beam search finds best; the module's docstring has the rules.

    >>> texts = beam_search(model.writer(memory, grid, packing, start_id=cls), end_id=sep,
    ...                     max_length=20)

    The host asks after each word whether all texts have stopped, and goes on without the answer:
    on a GPU it comes some words later. Memory and time of the search grow with S B V of a step.

    Args:
        model: of S texts, in eval mode.
        end_id: word that ends a text.
        max_length: L, words of a text at most, the end word counted.
        num_beams: B; 4 in E2E-VLP.
        alpha: how far length is made up for; .9 in E2E-VLP, 0 not at all.

    Returns:
        Texts; `scores` are those above. Where none of the texts tried has ended within L words, the
        best one that has not, L words long.

    Raises:
        ValueError: for less than one word or beam, more beams than words, an end word that there is
            not, or an alpha that is not 0 or a positive number.

    Source: E2E-VLP section 5.1; Wu et al. (2016), section 7.
    """
    _check("beam_search", max_length, num_beams, alpha)
    options = {"end_id": end_id, "max_length": max_length, "num_beams": num_beams}
    search = _searched("beam_search", model, alpha=alpha, kept=1, **options)
    ids, scores = search.result(_penalty(max_length, alpha))
    return Texts(ids=ids[:, 0], scores=scores[:, 0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Hypotheses:
    """The best K texts of each that a search found: those that ended, falling, then cut ones.

    Attributes:
        ids: (S, K, L) int64, words as the end word leaves them.
        scores: (S, K) float32 (float64 of a model in float64), what texts are ranked by.
        log_probabilities: (S, K), log P of each, the end word counted.
        ended: (S, K) bool, False of a text that was cut after L words.
    """

    ids: Tensor
    scores: Tensor
    log_probabilities: Tensor
    ended: Tensor


@torch.no_grad()
def beam_hypotheses(
    model: LanguageModel[State],
    *,
    end_id: int,
    max_length: int,
    num_beams: int = 4,
    alpha: float = 0.9,
) -> Hypotheses:
    """Writes the best B texts of each that beam search finds, B beams wide: K = B.

    Stops when no beam can overtake the last of them. Where fewer have ended within L words, the
    rest are the best beams that have not. Arguments and errors are those of `beam_search`.
    """
    _check("beam_hypotheses", max_length, num_beams, alpha)
    options = {"end_id": end_id, "max_length": max_length, "num_beams": num_beams}
    search = _searched("beam_hypotheses", model, alpha=alpha, kept=num_beams, **options)
    ids, scores = search.result(_penalty(max_length, alpha))
    lengths = ((ids != end_id).sum(-1) + 1).clamp(max=max_length)
    return Hypotheses(
        ids=ids,
        scores=scores,
        log_probabilities=scores * ((5 + lengths.to(scores.dtype)) / 6) ** alpha,
        ended=(ids[..., -1] == end_id) & (scores > -torch.inf),
    )


def _searched(
    name: str,
    model: LanguageModel[State],
    *,
    end_id: int,
    max_length: int,
    num_beams: int,
    alpha: float,
    kept: int,
) -> "_Search":
    """The search that keeps so many finished texts, at its end."""
    logits, state = model.start(num_beams=num_beams, max_length=max_length)
    check_search(name, logits, num_beams=num_beams, end_id=end_id)
    search, stopped = _Search.begin(logits, end_id, max_length, kept), LateFlag()
    longest = _penalty(max_length, alpha)
    for length in range(1, max_length + 1):
        ranked = _ranked(search.live_scores, logits)
        search.finish(ranked, length, _penalty(length, alpha))
        beams, tokens = search.go_on(ranked, length)
        if length == max_length or stopped.watch(search.has_stopped(longest)):
            break
        logits, state = model.step(tokens, state, beams)
    return search


class _Ranked(NamedTuple):
    """The best 2 B continuations, falling: B of them go on, for only one of each beam ends."""

    scores_SC: Tensor
    beams_SC: Tensor
    tokens_SC: Tensor


def _ranked(live_scores: Tensor, logits: Tensor) -> _Ranked:
    """Ranks continuations: 2 B words of a beam are enough, whatever the other beams have."""
    num_beams, num_words = logits.shape[1:]
    wanted = 2 * num_beams
    best, tokens = largest(logits, min(wanted, num_words))
    scores = live_scores[..., None] + log_probability(best, logits)
    # Beams in front of words: a stable sort then prefers the better beam, and its lower word.
    ranked, order = scores.flatten(1).sort(descending=True, stable=True)
    order = order[:, :wanted]
    return _Ranked(ranked[:, :wanted], order // best.shape[-1], tokens.flatten(1).gather(1, order))


@dataclass(kw_only=True, eq=False)
class _Search:
    """What is known of S texts."""

    end_id: int
    live_scores: Tensor
    """(S, B), log P of the beams, falling; minus infinity where there is no such beam."""
    live_ids: Tensor
    """(S, B, L) int64, what the beams have written; `end_id` behind it."""
    best_scores: Tensor
    """(S, K), of the best finished texts, falling, minus infinity where there is none."""
    best_ids: Tensor
    """(S, K, L) int64."""

    @classmethod
    def begin(cls, logits: Tensor, end_id: int, max_length: int, kept: int) -> "_Search":
        """Makes the state in front of the first word: beams are equal, so that one alone counts."""
        shape = logits.shape[:2]
        dtype = torch.promote_types(logits.dtype, torch.float32)
        live_scores = torch.full(shape, -torch.inf, dtype=dtype, device=logits.device)
        live_scores[:, 0] = 0
        ids = torch.full((*shape, max_length), end_id, device=logits.device)
        return cls(
            end_id=end_id,
            live_scores=live_scores,
            live_ids=ids,
            best_scores=live_scores.new_full((shape[0], kept), -torch.inf),
            best_ids=ids[:, :kept].clone(),
        )

    def finish(self, ranked: _Ranked, length: int, penalty: float) -> None:
        """Keeps the best texts that end now, if they are better than those before; these if not."""
        num_beams, kept = self.live_scores.shape[1], self.best_scores.shape[1]
        ends = ranked.tokens_SC[:, :num_beams] == self.end_id
        # Of one length, so the first are the best; behind them stand some that do not end.
        first = (~ends).int().argsort(dim=1, stable=True)[:, :kept]
        scores = ranked.scores_SC.gather(1, first) / penalty
        scores = torch.where(ends.gather(1, first), scores, -torch.inf)
        ids = _of_beams(self.live_ids, ranked.beams_SC.gather(1, first))
        every = torch.cat([self.best_scores, scores], dim=1)
        # A stable sort prefers the texts from before, which are shorter.
        every, order = every.sort(dim=1, descending=True, stable=True)
        self.best_scores = every[:, :kept]
        self.best_ids = _of_beams(torch.cat([self.best_ids, ids], dim=1), order[:, :kept])

    def go_on(self, ranked: _Ranked, length: int) -> tuple[Tensor, Tensor]:
        """Makes beams of the best continuations that do not end: their beams and words, (S, B)."""
        num_beams = self.live_scores.shape[1]
        ends = (ranked.tokens_SC == self.end_id).int()
        places = ends.argsort(dim=1, stable=True)[:, :num_beams]
        scores, beams, tokens = (part.gather(1, places) for part in ranked)
        self.live_scores, self.live_ids = scores, _of_beams(self.live_ids, beams)
        self.live_ids[:, :, length - 1] = tokens
        return beams, tokens

    def has_stopped(self, longest: float) -> Tensor:
        """Tells whether no beam of any text can still be better than its last finished one: ()."""
        return (self.best_scores[:, -1] >= self.live_scores[:, 0] / longest).all()

    def result(self, longest: float) -> tuple[Tensor, Tensor]:
        """Takes the best finished texts (S, K, L), the best beams where too few have finished."""
        has_none = self.best_scores == -torch.inf
        beams = (has_none.cumsum(1) - 1).clamp(min=0)
        live = self.live_scores.gather(1, beams) / longest
        ids = torch.where(has_none[..., None], _of_beams(self.live_ids, beams), self.best_ids)
        return ids, torch.where(has_none, live, self.best_scores)


def _of_beams(ids: Tensor, beams: Tensor) -> Tensor:
    """Takes what these beams (S, M) have written, of (S, B, L): (S, M, L)."""
    return ids.gather(1, beams[..., None].expand(-1, -1, ids.shape[2]))


def _penalty(length: int, alpha: float) -> float:
    """lp(n)."""
    return float(((5 + length) / 6) ** alpha)


def _check(name: str, max_length: int, num_beams: int, alpha: float) -> None:
    check_length(name, max_length)
    if num_beams < 1:
        raise ValueError(f"{name}: received num_beams {num_beams}, expected 1 or more; 1 is greedy")
    if not 0 <= alpha < torch.inf:
        raise ValueError(
            f"{name}: received alpha {alpha}, expected 0 (length does not count) or a "
            "positive number"
        )
