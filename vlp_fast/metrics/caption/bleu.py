"""BLEU-1 to BLEU-4, as the official evaluation of COCO captions computes them.

Source: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation" (2002),
eq. 1 to 3. Of several references the one closest in length counts for the length, of two equally
close the shorter. Nothing is divided by zero: 1e-15 is added above, 1e-9 below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vlp_fast.metrics.caption.corpus import LONGEST, Corpus, Grams, Judged

TINY, SMALL = 1e-15, 1e-9


def bleu(corpus: Corpus) -> tuple[Judged, ...]:
    """Compare captions with their references.

    Returns:
        BLEU-1, BLEU-2, BLEU-3 and BLEU-4 in [0, 1]. Those of the corpus are of counts added up
        over all images, no means of those of images.
    """
    counts = np.array(
        [
            _counts(*pair)
            for pair in zip(corpus.candidate_grams, corpus.reference_grams, strict=True)
        ]
    )
    whole = _values(counts.sum(0))
    images = np.array([_values(row) for row in counts])
    return tuple(Judged(whole[n], images[:, n]) for n in range(LONGEST))


def _counts(caption: Grams, references: Sequence[Grams]) -> list[int]:
    """Lengths of caption and reference; n-grams that are right, and that there are, for each n."""
    length = caption[0].total()
    closest = min((abs(r[0].total() - length), r[0].total()) for r in references)[1]
    right = [
        sum(min(count, max(r[n][gram] for r in references)) for gram, count in caption[n].items())
        for n in range(LONGEST)
    ]
    return [length, closest, *right, *(found.total() for found in caption)]


def _values(counts: np.ndarray) -> list[float]:
    length, closest, *rest = counts.tolist()
    precisions = [
        (right + TINY) / (there + SMALL)
        for right, there in zip(rest[:LONGEST], rest[LONGEST:], strict=True)
    ]
    ratio = (length + TINY) / (closest + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return [brevity * math.prod(precisions[:n]) ** (1 / n) for n in range(1, LONGEST + 1)]
