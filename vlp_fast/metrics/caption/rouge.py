"""ROUGE-L, as the official evaluation of COCO captions computes it.

Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004), eq. 2 to 4, with beta
1.2. Of several references the best precision and the best recall count, which may be of two.

The longest common subsequence is found a row of bits at a time.
Source: Hyyro, "Bit-Parallel LCS-length Computation Revisited" (2004).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlp_fast.metrics.caption.corpus import Corpus, Judged

BETA = 1.2


def rouge_l(corpus: Corpus) -> Judged:
    """Compare captions with their references.

    Words are what stands between single spaces, so an empty text is one empty word.

    Returns:
        F in [0, 1] of each image, and their mean.
    """
    images = np.array(
        [_value(*pair) for pair in zip(corpus.candidates, corpus.references, strict=True)]
    )
    return Judged(float(images.mean()), images)


def common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Words of the longest common subsequence."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    # Bit i of `open_` is 0 where the subsequence grows at word i of the first.
    whole = (1 << len(first)) - 1
    open_ = whole
    for word in second:
        same = open_ & places.get(word, 0)
        open_ = ((open_ + same) | (open_ - same)) & whole
    return len(first) - open_.bit_count()


def _value(caption: str, references: Sequence[str]) -> float:
    words = caption.split(" ")
    others = [text.split(" ") for text in references]
    common = [common_length(words, other) for other in others]
    precision = max(common) / len(words)
    recall = max(n / len(other) for n, other in zip(common, others, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
