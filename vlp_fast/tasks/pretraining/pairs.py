"""Texts with pictures, own or foreign, some of their words masked: what both batches hold."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vlp_fast.tasks.sequences import Sequences


@dataclass(frozen=True, kw_only=True)
class Pairs(Sequences):
    """Sequences of pre-training.

    Attributes:
        masked_rows: (M,) packed rows of the words to predict (of matching pairs).
        masked_targets: (M,) the words.
        is_matched: int64, 1 where the text belongs to its picture, one for each text.
    """

    masked_rows: Tensor
    masked_targets: Tensor
    is_matched: Tensor
