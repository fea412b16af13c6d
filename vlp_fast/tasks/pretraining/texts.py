"""From the texts of a batch to flat token tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vlp_fast.data.tokenizer import Tokenizer
from vlp_fast.tasks.inputs import flat
from vlp_fast.tasks.pretraining.mlm import MaskedText, mask_words


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """Tokenise and corrupt: everything that `mask_words` needs besides the text."""

    tokenizer: Tokenizer
    max_length: int
    rate: float

    def ids(self, text: str) -> list[int]:
        """Token ids `[CLS] .. [SEP]` of at most `max_length` tokens."""
        return self.tokenizer.encode(text, self.max_length)

    def mask(self, text: str, generator: np.random.Generator) -> MaskedText:
        """The text's ids with words masked."""
        return mask_words(
            self.ids(text),
            generator,
            mask_id=self.tokenizer.mask_id,
            ordinary_ids=self.tokenizer.ordinary_ids,
            special_ids=self.tokenizer.special_ids,
            rate=self.rate,
        )


def chosen_rows(
    texts: list[MaskedText], starts: Sequence[int], is_used: list[bool]
) -> tuple[Tensor, Tensor]:
    """Packed row and target of every chosen token of the texts that are used.

    Args:
        texts: corrupted texts, one for each sequence that has a text.
        starts: packed row at which each text begins.
        is_used: whether the text has the loss.
    """
    used = [(t, s) for t, s, u in zip(texts, starts, is_used, strict=True) if u]
    rows = [[start + position for position in text.positions] for text, start in used]
    return flat(rows), flat([text.targets for text, _ in used])
