"""Texts that differ from another in one word: what a matching model finds hardest to tell apart.

A model that only knows which words go with a picture matches "a star above a square" with a picture
of "a star below a square" (Yuksekgonul et al., ICLR 2023). In a batch of random pictures no two
texts differ in that word alone, and nothing teaches the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

Words = tuple[str, ...]


class NearTexts:
    """Distinct texts, found by all of their words but one.

    About 12 bytes for each word of all texts. Words are parts between spaces, in lower case.

    Args:
        texts: in an order that draws depend on; of equal ones the first counts.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = tuple({words_of(text): text for text in reversed(tuple(texts))}.values())[
            ::-1
        ]
        keys, numbers = [], []
        for number, text in enumerate(self._texts):
            of_text = list(_keys(words_of(text)))
            keys += of_text
            numbers += [number] * len(of_text)
        order = np.argsort(np.array(keys, dtype=np.int64), kind="stable")
        self._keys = np.array(keys, dtype=np.int64)[order]
        self._numbers = np.array(numbers, dtype=np.int32)[order]

    def __len__(self) -> int:
        return len(self._texts)

    def at(self, text: str, place: int) -> list[str]:
        """The texts that have another word in one place, in the order that they were given."""
        words = words_of(text)
        key = hash((place, *words[:place], *words[place + 1 :]))
        first, last = np.searchsorted(self._keys, [key, key + 1])
        found = dict.fromkeys(self._texts[n] for n in self._numbers[first:last].tolist())
        return [other for other in found if _differ_at(words, words_of(other), place)]

    def drawn(self, text: str, draw: np.random.Generator) -> Iterator[str]:
        """All of them in random order: one for each place, then another for each place, and so on.

        So a place with few other words, as a relation, has its turn as often as one with many.
        """
        places = draw.permutation(len(words_of(text))).tolist()
        lists = [self.at(text, place) for place in places]
        orders = [draw.permutation(len(found)).tolist() for found in lists]
        for turn in range(max(map(len, lists), default=0)):
            for found, order in zip(lists, orders, strict=True):
                if turn < len(found):
                    yield found[order[turn]]


def words_of(text: str) -> Words:
    """The words of a text."""
    return tuple(text.lower().split())


def _keys(words: Words) -> Iterator[int]:
    for place in range(len(words)):
        yield hash((place, *words[:place], *words[place + 1 :]))


def _differ_at(words: Words, others: Words, place: int) -> bool:
    """Whether that is all that tells them apart: keys of others may be equal by chance."""
    if len(words) != len(others):
        return False
    return [a != b for a, b in zip(words, others, strict=True)] == [
        number == place for number in range(len(words))
    ]
