"""Language models of a few words, and searches that are slow and plain, for the tests here."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

Words = tuple[int, ...]
LogP = Callable[[Words], Sequence[float]]
"""log P of each next word, behind these words."""


class TreeModel:
    """Another distribution behind every text so far: nothing but the whole text tells the next.

    Args:
        seeds: of each text.
        num_words: V, of which the first `num_possible` can be.
        scale: of the logits; 0 makes all words equal.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        num_words: int,
        num_possible: int | None = None,
        *,
        scale: float = 2.0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.seeds, self.num_words, self.scale, self.dtype = seeds, num_words, scale, dtype
        self.num_possible = num_possible or num_words
        self.steps = 0
        self._known: dict[tuple[int, Words], Tensor] = {}

    def start(self, *, num_beams: int, max_length: int) -> tuple[Tensor, list[list[Words]]]:
        state: list[list[Words]] = [[()] * num_beams for _ in self.seeds]
        return self._logits(state), state

    def step(
        self, tokens: Tensor, state: list[list[Words]], beams: Tensor | None
    ) -> tuple[Tensor, list[list[Words]]]:
        self.steps += 1
        if beams is None:
            beams = torch.arange(tokens.shape[1]).expand_as(tokens)
        rows = zip(state, beams.tolist(), tokens.tolist(), strict=True)
        state = [
            [texts[beam] + (word,) for beam, word in zip(parents, words, strict=True)]
            for texts, parents, words in rows
        ]
        return self._logits(state), state

    def logits(self, text: int, words: Words) -> Tensor:
        """(V,) behind these words of a text."""
        key = self.seeds[text], words
        if key not in self._known:
            drawn = torch.Generator().manual_seed(hash(key) % 2**31)
            logits = torch.randn(self.num_words, generator=drawn, dtype=torch.float64) * self.scale
            logits[self.num_possible :] = -torch.inf
            self._known[key] = logits.to(self.dtype)
        return self._known[key]

    def log_p(self, text: int) -> LogP:
        """As a slow search asks, in float64."""
        return lambda words: self.logits(text, words).double().log_softmax(0).tolist()

    def _logits(self, state: list[list[Words]]) -> Tensor:
        rows = [[self.logits(i, words) for words in texts] for i, texts in enumerate(state)]
        return torch.stack([torch.stack(row) for row in rows])


def penalty(length: int, alpha: float) -> float:
    return float(((5 + length) / 6) ** alpha)


def best_of_all(
    log_p: LogP, num_words: int, *, end_id: int, max_length: int, alpha: float
) -> tuple[float, Words]:
    """The best text that ends, of all that there are: (score, words with the end)."""
    others = [word for word in range(num_words) if word != end_id]
    best = (-float("inf"), ())
    for length in range(1, max_length + 1):
        for body in product(others, repeat=length - 1):
            words = (*body, end_id)
            total = sum(log_p(words[:i])[word] for i, word in enumerate(words))
            best = max(best, (total / penalty(length, alpha), words))
    return best


def slow_beam_search(
    log_p: LogP, *, end_id: int, max_length: int, num_beams: int, alpha: float
) -> tuple[float, Words]:
    """One text, list by list, to the last word: (score, words, with the end if it has ended)."""
    options = {"end_id": end_id, "max_length": max_length, "num_beams": num_beams}
    score, words, _ = slow_hypotheses(log_p, alpha=alpha, **options)[0]
    return score, words


def slow_hypotheses(
    log_p: LogP, *, end_id: int, max_length: int, num_beams: int, alpha: float
) -> list[tuple[float, Words, float]]:
    """All that ended, the best first, then the beams: (score, words, log P) of each."""
    live: list[tuple[float, Words]] = [(0.0, ())]
    finished: list[tuple[float, Words, float]] = []
    for length in range(1, max_length + 1):
        grown = []
        for total, words in live:
            grown += [(total + more, (*words, word)) for word, more in enumerate(log_p(words))]
        grown.sort(key=lambda text: -text[0])  # stable: the better beam, then the lower word
        for total, words in grown[:num_beams]:
            if words[-1] == end_id and total > -float("inf"):
                finished.append((total / penalty(length, alpha), words, total))
        live = [text for text in grown if text[1][-1] != end_id][:num_beams]
    finished.sort(key=lambda text: -text[0])
    return finished + [(p / penalty(max_length, alpha), words, p) for p, words in live]


def padded(words: Words, max_length: int, end_id: int) -> list[int]:
    return [*words, *[end_id] * (max_length - len(words))]
