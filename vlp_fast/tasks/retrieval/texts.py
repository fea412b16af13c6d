"""Texts to be scored: each distinct one once, those of one length together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor


class Texts:
    """Texts by length, in an order that depends on nothing but what they are.

    Args:
        ids: token ids of each of n texts.

    Attributes:
        distinct: token ids of each distinct text.
        places: (n,) int64, which of these each text is.
    """

    def __init__(self, ids: Sequence[Sequence[int]]) -> None:
        keys = [tuple(one) for one in ids]
        self.distinct = sorted(set(keys), key=lambda key: (len(key), key))
        place_of = {key: place for place, key in enumerate(self.distinct)}
        self.places = np.array([place_of[key] for key in keys], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.distinct)

    def of_one_length(self) -> Iterator[tuple[int, Tensor]]:
        """(n, L) int64 token ids of the texts of each length, and the place of the first."""
        first = 0
        for _, alike in groupby(self.distinct, key=len):
            ids = torch.tensor(list(alike), dtype=torch.int64, device="cpu")
            yield first, ids
            first += len(ids)
