"""Chooses of all that could be asked what is asked, so that a text alone tells nothing.

Of one text every answer that occurs is chosen equally often within a split: the same question is
asked of pictures with different answers. Whoever reads the text only has 1 / (number of answers).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlp_fast.data.world.groups import Facts

Pool = Mapping[str, Mapping[str, list[int]]]
"""Of each text, by answer, the pictures (numbers of a split) that give this answer."""


class Choice(NamedTuple):
    """One text, asked of one picture."""

    picture: int
    text: str
    answer: str


def pooled(facts: Sequence[Facts], told: Callable[[Facts], Iterable[tuple[str, str]]]) -> Pool:
    """Returns, by text and answer, which pictures tell so; `told` yields (text, answer) of one."""
    pool: dict[str, dict[str, list[int]]] = {}
    for picture, item in enumerate(facts):
        for text, answer in told(item):
            pool.setdefault(text, {}).setdefault(answer, []).append(picture)
    return pool


def balanced(
    pool: Pool,
    *,
    wanted: int,
    used: NDArray[np.int64],
    rng: np.random.Generator,
    fewest: int = 2,
    rarest: float = 0.0,
) -> list[Choice]:
    """Returns about `wanted` choices in rounds: one of each answer of a text, on other pictures.

    Rounds are spread evenly over the texts. Pictures that were used least come first.

    Args:
        pool: what there is to choose from.
        wanted: about how many choices; fewer where the pool has no more.
        used: (pictures,) how often each was chosen; counted up here.
        rng: ties are random.
        fewest: answers that a text needs to be chosen at all.
        rarest: an answer is left out that has fewer pictures than this share of the text's most
            frequent one: it would hold back all others.
    """
    frequent = {text: _frequent(pool[text], rarest) for text in sorted(pool)}
    texts = [text for text, answers in frequent.items() if len(answers) >= fewest]
    texts = [texts[i] for i in rng.permutation(len(texts))]
    choices = []
    for text, rounds in _spread({text: frequent[text] for text in texts}, wanted).items():
        for answer, pictures in frequent[text].items():
            for picture in _least_used(pictures, rounds, used, rng):
                used[picture] += 1
                choices.append(Choice(picture, text, answer))
    return choices


def numbered(chosen: Iterable[Choice]) -> Iterator[tuple[Choice, int]]:
    """Yields the choices picture by picture, each with its number within the picture."""
    counted: Counter[int] = Counter()
    for choice in sorted(chosen):
        yield choice, counted[choice.picture]
        counted[choice.picture] += 1


def _frequent(answers: Mapping[str, list[int]], rarest: float) -> dict[str, list[int]]:
    limit = rarest * max(map(len, answers.values()))
    return {answer: answers[answer] for answer in sorted(answers) if len(answers[answer]) >= limit}


def _spread(pool: Pool, wanted: int) -> dict[str, int]:
    """The rounds of each text: one more for each in turn until there are enough choices."""
    room = {text: min(map(len, answers.values())) for text, answers in pool.items()}
    rounds = dict.fromkeys(pool, 0)
    total, round_number = 0, 0
    while total < wanted and any(left > round_number for left in room.values()):
        for text, answers in pool.items():
            if room[text] > round_number and total < wanted:
                rounds[text] += 1
                total += len(answers)
        round_number += 1
    return rounds


def _least_used(
    pictures: list[int], number: int, used: NDArray[np.int64], rng: np.random.Generator
) -> list[int]:
    shuffled = rng.permutation(pictures)
    order = np.argsort(used[shuffled], kind="stable")[:number]
    return [int(picture) for picture in shuffled[order]]
