"""Captions to be judged with the references of their images: tokens, and their n-grams once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LONGEST = 4
"""Words of the longest n-grams that BLEU and CIDEr count."""
Grams = tuple[Counter[Hashable], ...]
"""How often a text holds each n-gram, for n = 1 to 4."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What a metric says.

    Attributes:
        corpus: its value for all captions.
        images: (N,) float64, its value for each.
    """

    corpus: float
    images: np.ndarray


class Corpus:
    """N captions and their references.

    Args:
        candidates: a caption of each image, as `tokenised` gives it.
        references: what people wrote of each image, likewise; at least one.

    Raises:
        ValueError: if there is no caption, an image has no reference, or the two differ in length.
    """

    def __init__(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        if not candidates or len(candidates) != len(references):
            raise ValueError(
                f"Corpus: received {len(candidates)} captions and references of {len(references)} "
                "images, expected as many, and at least one"
            )
        for number, texts in enumerate(references):
            if isinstance(texts, str) or not texts:
                raise ValueError(
                    f"Corpus: received {texts!r} as references of caption {number}, expected a "
                    "list of at least one"
                )
        self.candidates = list(candidates)
        self.references = [list(texts) for texts in references]

    def __len__(self) -> int:
        return len(self.candidates)

    @cached_property
    def candidate_grams(self) -> list[Grams]:
        """Of each caption."""
        return [grams(text) for text in self.candidates]

    @cached_property
    def reference_grams(self) -> list[list[Grams]]:
        """Of each reference of each image."""
        return [[grams(text) for text in texts] for texts in self.references]


def grams(text: str) -> Grams:
    """Count the n-grams of a text; words are what `text.split()` gives."""
    words = text.split()
    longer = (zip(*(words[i:] for i in range(n)), strict=False) for n in range(2, LONGEST + 1))
    counted: Iterable[Iterable[Hashable]] = (words, *longer)
    return tuple(Counter(found) for found in counted)
