"""Texts that are longer than what a run reads of them: half of NLVR2's have more than 16 tokens."""

from __future__ import annotations

from collections.abc import Sequence

from vlp_fast.data.tokenizer import Tokenizer

LOOKED_AT = 1000
"""Texts, spread evenly: all of VQA's would take half a minute at each start."""
FEW = 0.01
"""Share of texts that may be cut without a word: a few are always longer than any length."""


def share_of_cut(tokenizer: Tokenizer, texts: Sequence[str], length: int) -> float:
    """Estimate the share of texts that have more tokens than are read, [CLS] and [SEP] included.

    Args:
        tokenizer: the run's.
        texts: any number; of many, `LOOKED_AT` or a few more are looked at.
        length: tokens that are read.
    """
    some = texts[:: max(1, len(texts) // LOOKED_AT)]
    cut = sum(len(tokenizer.encode(text, length + 1)) > length for text in some)
    return cut / max(1, len(some))
