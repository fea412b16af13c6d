"""Texts word by word: the most probable word each time, or one that is drawn.

Shape suffixes: S texts, V words, L longest text.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vlp_fast.layers.language_model import (
    LanguageModel,
    State,
    Texts,
    check_length,
    check_search,
    log_probability,
    wide,
)
from vlp_fast.layers.largest import CHUNK, largest
from vlp_fast.layers.late_flag import LateFlag
from vlp_fast.reference.dropout import hashed

FEW = 64
"""Words that are mostly enough to make up p."""


@torch.no_grad()
def greedy(model: LanguageModel[State], *, end_id: int, max_length: int) -> Texts:
    """Writes the most probable word each time, the lowest of equal ones: beam search with one beam.

    No word waits for the device: whether all texts have ended the host learns late (`LateFlag`),
    and words behind an end count for nothing.

    Args:
        model: of S texts, in eval mode.
        end_id: word that ends a text.
        max_length: L, words of a text at most, the end word counted.

    Returns:
        Texts; `scores` are log P.

    Raises:
        ValueError: for less than one word, or an end word that there is not.
    """
    return _write("greedy", model, end_id, max_length, lambda logits, _: logits.argmax(1))


@torch.no_grad()
def sample(
    model: LanguageModel[State],
    *,
    end_id: int,
    max_length: int,
    top_p: float,
    seed: int | Tensor,
) -> Texts:
    """Draws each word from the fewest most probable ones that make up `top_p` together.

    A draw is a hash of the text's seed and the number of its words, so that a text depends on its
    seed and the model alone: not on batch mates, their order or the device. Texts with one seed and
    one distribution are one text; for several texts of a picture give each a seed.

    Args:
        model: of S texts, in eval mode.
        end_id: word that ends a text.
        max_length: L, words of a text at most, the end word counted.
        top_p: above 0, where it is `greedy`, to 1, where all words may come.
        seed: of every text, or (S,) int64 on the model's device, one of each.

    Returns:
        Texts; `scores` are log P, of all words.

    Raises:
        ValueError: for less than one word, an end word that there is not, a `top_p` outside of
            (0, 1], or seeds of another shape or dtype.

    Source: Holtzman et al. (2020), nucleus sampling.
    """
    if not 0 < top_p <= 1:
        raise ValueError(
            f"sample: received top_p {top_p}, expected above 0 to 1; 1 draws from all words"
        )

    def draw(logits: Tensor, length: int) -> Tensor:
        seeds = _seeds(seed, logits)
        return _drawn(wide(logits), top_p, _uniform(seeds, length, wide(logits).dtype))

    return _write("sample", model, end_id, max_length, draw)


def _write(
    name: str,
    model: LanguageModel[State],
    end_id: int,
    max_length: int,
    choose: Callable[[Tensor, int], Tensor],
) -> Texts:
    """Writes words that are chosen from logits (S, V) and the number of words before: (S,)."""
    check_length(name, max_length)
    logits, state = model.start(num_beams=1, max_length=max_length)
    check_search(name, logits, num_beams=1, end_id=end_id)
    written = torch.full((logits.shape[0], max_length), end_id, device=logits.device)
    scores = wide(logits[:, 0, 0]).new_zeros(logits.shape[0])
    has_ended, all_ended = torch.zeros_like(scores, dtype=torch.bool), LateFlag()
    for length in range(max_length):
        words = choose(logits[:, 0], length).masked_fill(has_ended, end_id)
        taken = log_probability(logits[:, 0].gather(1, words[:, None]), logits[:, 0])[:, 0]
        scores = scores + taken.masked_fill(has_ended, 0)
        written[:, length] = words
        has_ended = has_ended | (words == end_id)
        if length + 1 == max_length or all_ended.watch(has_ended.all()):
            break
        logits, state = model.step(words[:, None], state, None)
    return Texts(ids=written, scores=scores)


def _drawn(logits: Tensor, top_p: float, uniform: Tensor) -> Tensor:
    """Inverts the distribution function of the most probable words, at numbers (S,) in [0, 1)."""
    if top_p == 1:
        return _place(logits.softmax(1).cumsum(1), uniform)[:, 0]  # in any order
    chances, words = _ranked(logits, top_p)
    sums = chances.cumsum(1)
    # The first always, and all in front of which p is not yet reached.
    kept = F.pad(sums[:, :-1], (1, 0)) < top_p
    within = sums.where(kept, sums.where(kept, 0).amax(1, keepdim=True))
    return words.gather(1, _place(within, uniform))[:, 0]


def _ranked(logits: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Chances and words from the most probable on, of equal ones the lowest first: enough for p.

    On a CPU a few are looked at first. 32 rows of 30,522 words took 11 ms so, and 76 ms when sorted
    (one thread of an EPYC, PyTorch 2.11). A GPU is not asked whether they are enough.
    """
    chances = logits.softmax(1)
    if logits.is_cpu and logits.shape[1] > FEW * CHUNK:
        first, words = largest(chances, FEW)
        if LateFlag().watch((first.sum(1) > top_p).all()):
            return first, words
    return chances.sort(descending=True, stable=True)


def _place(sums: Tensor, uniform: Tensor) -> Tensor:
    """Where growing sums (S, K) pass these shares (S,) of the last one: (S, 1).

    Rounded up, a share may be the whole, which no sum passes: then where they first reach it, for
    what follows is impossible.
    """
    whole = sums[:, -1:]
    place = (sums <= uniform[:, None] * whole).sum(1, keepdim=True)
    return place.minimum((sums < whole).sum(1, keepdim=True))


def _seeds(seed: int | Tensor, logits: Tensor) -> Tensor:
    """Seeds of all texts (S,)."""
    num_texts = logits.shape[0]
    if not isinstance(seed, Tensor):
        return torch.full((num_texts,), seed % 2**63, device=logits.device)
    if seed.shape != (num_texts,) or seed.dtype != torch.int64:
        raise ValueError(
            f"sample: received seeds {tuple(seed.shape)} of {seed.dtype}, expected a number, or "
            f"({num_texts},) of torch.int64, one for each text"
        )
    return seed


def _uniform(seeds: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Numbers (S,) in [0, 1), of 24 bits, by seed and place in the text."""
    bits = hashed(seeds >> 32, seeds, torch.full_like(seeds, length)) >> 8
    return bits.bitwise_and(2**24 - 1).to(dtype) / 2**24
