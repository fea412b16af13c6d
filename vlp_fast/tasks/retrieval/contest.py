"""Pictures and captions that are ranked against one another, and in which groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vlp_fast.data.records import Dataset

FIVE = 5
"""Captions of a picture that SCAN and its followers use."""
LARGEST_GROUP = 64
PAIRS = 8192
"""Of a group of pictures at most, if it is not of one: what a kill may cost."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Pictures and captions.

    Attributes:
        indices: of B pictures in their data set, in the order of its file.
        captions: S of them.
        image_of: the place among the pictures of each.
    """

    indices: tuple[int, ...]
    captions: tuple[str, ...]
    image_of: tuple[int, ...]

    @property
    def shared_captions(self) -> int:
        """Captions that another picture has too, word for word."""
        owners = Counter(text for text, _ in set(zip(self.captions, self.image_of, strict=True)))
        return sum(owners[text] > 1 for text in self.captions)


def contest_of(dataset: Dataset, indices: Sequence[int], captions: str) -> Contest:
    """The pictures of these numbers with all their captions, or with the first five of each."""
    most = FIVE if captions == "five" else None
    texts = [dataset.records[index].captions[:most] for index in indices]
    return Contest(
        indices=tuple(indices),
        captions=tuple(text for of_one in texts for text in of_one),
        image_of=tuple(place for place, of_one in enumerate(texts) for _ in of_one),
    )


def groups_of(dataset: Dataset, indices: Sequence[int], texts: int) -> list[list[int]]:
    """The pictures in groups of similar shape, which depend on them and the number of texts alone.

    A group is what a process does at a time, and what is lost where it is killed.
    """
    aspects = dataset.aspects()
    order = sorted(indices, key=lambda index: (aspects[index], index))
    size = max(1, min(LARGEST_GROUP, PAIRS // max(texts, 1)))
    return [order[start : start + size] for start in range(0, len(order), size)]
