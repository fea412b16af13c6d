"""Sequences of many lengths, two ways: end to end, and at the front of equally long ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """S sequences, T rows in all; made from host integers, moved to the device once."""

    lengths: Sequence[int]
    padded_length: int
    """Rows of each padded sequence."""
    device: str

    @property
    def longest(self) -> int:
        """Rows of the longest sequence."""
        return max(self.lengths)

    @cached_property
    def bounds(self) -> Tensor:
        """(S + 1,) int32: the first row of each sequence, then T."""
        ends = accumulate(self.lengths, initial=0)
        return torch.tensor(list(ends), dtype=torch.int32, device=self.device)

    @cached_property
    def longest_first(self) -> Tensor:
        """(S,) int32: the sequences by falling length."""
        order = torch.tensor(self.lengths).argsort(descending=True, stable=True)
        return order.int().to(self.device)

    @cached_property
    def owners(self) -> Tensor:
        """(T,) int64: the sequence of each row."""
        numbers = torch.arange(len(self.lengths))
        return numbers.repeat_interleave(torch.tensor(self.lengths)).to(self.device)

    @cached_property
    def places(self) -> Tensor:
        """(T,) int64: row of the flattened padded batch of each packed row."""
        ranges = [
            number * self.padded_length + torch.arange(length)
            for number, length in enumerate(self.lengths)
        ]
        return torch.cat(ranges).to(self.device)

    @cached_property
    def is_padding(self) -> Tensor:
        """(S, padded_length) bool."""
        size = (len(self.lengths) * self.padded_length,)
        mask = torch.ones(size, dtype=torch.bool, device=self.device)
        return mask.index_fill(0, self.places, False).view(len(self.lengths), -1)

    def pad(self, rows: Tensor) -> Tensor:
        """Maps (T, ...) to (S, padded_length, ...), zeros on padding."""
        shape = (len(self.lengths), self.padded_length, *rows.shape[1:])
        return rows.new_zeros(shape).flatten(0, 1).index_copy(0, self.places, rows).view(shape)

    def unpad(self, padded: Tensor) -> Tensor:
        """Maps (S, padded_length, ...) to (T, ...)."""
        return padded.flatten(0, 1).index_select(0, self.places)


def uniform(sequences: int, length: int, device: str) -> Ragged:
    """Sequences of one length."""
    return Ragged(lengths=[length] * sequences, padded_length=length, device=device)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Which rows attend to which."""

    queries: Ragged
    keys: Ragged
    causal: bool = False
    """The last query of a sequence sees all of its keys, the one before all but the last."""

    @property
    def pairs(self) -> int:
        """Queries times the keys that they see, of all sequences."""
        sizes = zip(self.queries.lengths, self.keys.lengths, strict=True)
        return sum(nq * nk - self.causal * nq * (nq - 1) // 2 for nq, nk in sizes)
