"""What a search for texts asks of a model: the words that may come next. No model is named here.

Shape suffixes: S texts, B beams of each, V words, L longest text.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

State = TypeVar("State")


class LanguageModel(Protocol[State]):
    """Says of every text what may come next; S texts are written at a time, B beams of each.

    What texts are about, and what they begin with, a model knows itself. `State` is its own affair;
    a search passes on what it got, each state once, so that a model may change it in place.
    """

    def start(self, *, num_beams: int, max_length: int) -> tuple[Tensor, State]:
        """Begins S texts.

        Args:
            num_beams: B; beams are equal to begin with.
            max_length: L: `step` follows at most L - 1 times.

        Returns:
            (S, B, V) floating point logits of the first word, minus infinity for those that cannot
            be; and the state.
        """

    def step(self, tokens: Tensor, state: State, beams: Tensor | None) -> tuple[Tensor, State]:
        """Goes on by one word.

        Args:
            tokens: (S, B) int64, the word that each beam goes on with; any word behind an end.
            state: of the call before.
            beams: (S, B) int64, which beam of the text each one goes on from; each from itself if
                None.

        Returns:
            (S, B, V) logits of the next word, and the state.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Texts that were written.

    Attributes:
        ids: (S, L) int64, words as the end word leaves them: it fills the row from the end on.
        scores: (S,) float32 (float64 of a model in float64), what the text was chosen by: see who
            wrote it.
    """

    ids: Tensor
    scores: Tensor


def check_search(name: str, logits: Tensor, *, num_beams: int, end_id: int) -> None:
    """Refuses a search in words that there are not; shapes alone are looked at.

    Args:
        name: of the search.
        logits: (S, B, V), the first ones.
        num_beams: B.
        end_id: the word that ends a text.

    Raises:
        ValueError: so.
    """
    if logits.dim() != 3 or logits.shape[1] != num_beams or logits.shape[2] < 2:
        raise ValueError(
            f"{name}: received logits {tuple(logits.shape)} from the model, expected (S, "
            f"{num_beams}, V) for texts of {num_beams} beams, of 2 words or more"
        )
    num_words = logits.shape[2]
    if num_beams > num_words:
        raise ValueError(
            f"{name}: received num_beams {num_beams}, expected 1 to {num_words}, the words of the "
            "vocabulary; pass fewer"
        )
    if not 0 <= end_id < num_words:
        raise ValueError(
            f"{name}: received end_id {end_id}, expected 0 to {num_words - 1}, a word of the "
            "vocabulary; no text would end"
        )


def check_length(name: str, max_length: int) -> None:
    """Refuses texts without words.

    Raises:
        ValueError: so.
    """
    if max_length < 1:
        raise ValueError(
            f"{name}: received max_length {max_length}, expected 1 or more; pass the number of "
            "words to write at most"
        )


def log_probability(of: Tensor, logits: Tensor) -> Tensor:
    """log P of some words, in `wide`; minus infinity of those that cannot be.

    Also where no word can be, behind a dead end, which is no number otherwise, and counts for more
    than all numbers.

    Args:
        of: (..., K), their logits.
        logits: (..., V), of all words.
    """
    found = wide(of) - wide(logits).logsumexp(-1, keepdim=True)
    return found.masked_fill(of == -torch.inf, -torch.inf)


def wide(logits: Tensor) -> Tensor:
    """Returns logits in float32, or float64 if they are: half precision cannot add up scores."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
