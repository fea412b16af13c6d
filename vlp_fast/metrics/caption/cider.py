"""CIDEr-D, which is what is meant by CIDEr wherever captions of COCO are judged.

Of each n-gram a text has the weight: how often it holds it, times log N - log df, where N is the
number of images and df of how many the references hold it. A caption is compared with a reference
by the cosine of these vectors, where no n-gram counts more often than in the reference, and by
their lengths:

    10 / 4 * sum over n of  exp(-d^2 / (2 * 6^2)) * sum_g min(c_g, r_g) * r_g / (|c| |r|)

Lengths are counted in bigrams. N and df come from the references of the images that are judged, so
values of different sets of images cannot be compared: of COCO's 2,796 val2017 captions here 84.5,
of 126 images of them 90 to 99.

Source: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation" (2015), eq. 5 and 6,
without the stemming that the paper describes and the official code lacks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlp_fast.metrics.caption.corpus import LONGEST, Corpus, Grams, Judged

SIGMA = 6.0
SCALE = 10.0
_BIGRAMS = 1


@dataclass(frozen=True, eq=False)
class DocumentFrequencies:
    """Of how many images the references hold an n-gram.

    Attributes:
        num_images: N.
        counts: df of each n-gram that some reference holds.
    """

    num_images: int
    counts: Counter[Hashable]

    @cached_property
    def unseen(self) -> float:
        """Weight of what no reference holds: log N."""
        return math.log(self.num_images)

    @cached_property
    def weights(self) -> dict[Hashable, float]:
        """log N - log df of each n-gram."""
        return {gram: self.unseen - math.log(df) for gram, df in self.counts.items()}


@dataclass(frozen=True, eq=False)
class _Vector:
    weights: tuple[dict[Hashable, float], ...]
    norms: tuple[float, ...]
    length: int


def document_frequencies(references: Iterable[Sequence[Grams]]) -> DocumentFrequencies:
    """Count in references of images, each of which counts an n-gram once."""
    counts: Counter[Hashable] = Counter()
    num_images = 0
    for texts in references:
        num_images += 1
        counts.update({gram for text in texts for found in text for gram in found})
    return DocumentFrequencies(num_images, counts)


def cider_d(corpus: Corpus, frequencies: DocumentFrequencies | None = None) -> Judged:
    """Compare captions with their references.

    Args:
        corpus: captions and references.
        frequencies: of other images; of those of the corpus if not given.

    Returns:
        Values in [0, 10] of each image, and their mean. Of one image alone it is 0.
    """
    known = frequencies or document_frequencies(corpus.reference_grams)
    images = np.array(
        [
            _value(caption, texts, known)
            for caption, texts in zip(corpus.candidate_grams, corpus.reference_grams, strict=True)
        ]
    )
    return Judged(float(images.mean()), images)


def _value(caption: Grams, references: Sequence[Grams], known: DocumentFrequencies) -> float:
    own = _vector(caption, known)
    total = sum(_similarity(own, _vector(text, known)) for text in references)
    return SCALE * total / LONGEST / len(references)


def _vector(text: Grams, known: DocumentFrequencies) -> _Vector:
    weight, unseen = known.weights.get, known.unseen
    weights = tuple(
        {gram: count * weight(gram, unseen) for gram, count in found.items()} for found in text
    )
    norms = tuple(math.sqrt(sum(w * w for w in found.values())) for found in weights)
    return _Vector(weights, norms, text[_BIGRAMS].total())


def _similarity(caption: _Vector, reference: _Vector) -> float:
    total = 0.0
    for n in range(LONGEST):
        norms = caption.norms[n] * reference.norms[n]
        others = reference.weights[n]
        if norms:
            total += (
                sum(
                    min(weight, others[gram]) * others[gram]
                    for gram, weight in caption.weights[n].items()
                    if gram in others
                )
                / norms
            )
    difference = caption.length - reference.length
    return total * math.exp(-(difference**2) / (2 * SIGMA**2))
