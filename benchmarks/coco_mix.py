"""Batches of pictures with the aspects of COCO and the augmentation of DETR, and their captions.

Sequences of many lengths lie two ways: end to end, and at the front of equally long ones.

A picture's shorter side is 480 to 800 pixels, the longer at most 1333, as E2E-VLP and DETR train.
Of SOHO's, 600 and 1000, a cell covers 64 pixels: 32 of the CNN, pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast import ops

ASPECTS = (0.66, 0.67, 0.75, 0.75, 1.0, *(1.33,) * 4, 1.34, 1.49, *(1.5,) * 3, 1.51, 1.77)
"""Width / height: 16 equally likely parts of 2,796 pictures of COCO's val2017."""
TEXT_LENGTHS = (11, 11, 12, 13, 13, 14, 15, 17)
"""Words of their captions with [CLS] and [SEP], 8 equally likely parts."""


@dataclass(frozen=True)
class Side:
    """S sequences, T rows in all, and how long they are where they are padded."""

    packing: ops.Packing
    padded_length: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows of each sequence."""
        return self.packing.lengths

    @cached_property
    def is_padding(self) -> Tensor:
        """(S, padded_length) bool."""
        lengths = torch.tensor(self.lengths)[:, None]
        is_padding = torch.arange(self.padded_length) >= lengths
        return is_padding.to(self.packing.cu_seqlens.device)

    def pad(self, rows: Tensor) -> Tensor:
        """Maps (T, ...) to (S, padded_length, ...), zeros on padding."""
        padded = ops.unpack(rows, self.packing)
        missing = self.padded_length - padded.shape[1]
        return functional.pad(padded, (*[0] * (2 * padded.ndim - 3), missing))

    def unpad(self, padded: Tensor) -> Tensor:
        """Maps (S, padded_length, ...) to (T, ...)."""
        return ops.pack(padded, self.packing)


def uniform(sequences: int, length: int, device: torch.device | str) -> Side:
    """Sequences of one length."""
    return Side(ops.uniform_packing(sequences, length).to(device), length)


@dataclass(frozen=True)
class Problem:
    """Which rows attend to which."""

    queries: Side
    keys: Side
    causal: bool = False
    """The last query of a sequence sees all of its keys, the one before all but the last."""

    @property
    def layout(self) -> dict[str, Any]:
        """Where sequences begin and how long they are at most, by FlashAttention's names."""
        return {
            "cu_seqlens_q": self.queries.packing.cu_seqlens,
            "cu_seqlens_k": self.keys.packing.cu_seqlens,
            "max_seqlen_q": self.queries.packing.max_length,
            "max_seqlen_k": self.keys.packing.max_length,
        }

    @property
    def pairs(self) -> int:
        """Queries times the keys that they see, of all sequences."""
        sizes = zip(self.queries.lengths, self.keys.lengths, strict=True)
        return sum(nq * nk - self.causal * nq * (nq - 1) // 2 for nq, nk in sizes)


class Augmentation(NamedTuple):
    """Sizes of pictures and of the CNN's cells, in pixels."""

    shorter: Sequence[int]
    longest: int
    cell: int

    def coarse(self) -> Augmentation:
        """A sixteenth of the cells, for quick runs."""
        return self._replace(cell=4 * self.cell)


E2E_VLP = Augmentation(shorter=range(480, 801, 32), longest=1333, cell=32)
SOHO = Augmentation(shorter=(600,), longest=1000, cell=64)


@dataclass(frozen=True)
class Mix:
    """A batch: which rows there are, packed and padded as one pads a batch of pictures."""

    grid: ops.Grid
    packing: ops.Packing

    @property
    def device(self) -> torch.device:
        """Of the indices."""
        return self.packing.cu_seqlens.device

    @cached_property
    def rows(self) -> Side:
        """Of each sequence text and cells; padded to the longest text and the whole map."""
        height, width = self.grid.map_size
        return Side(self.packing, max(self.packing.text_lengths) + height * width)

    @cached_property
    def texts(self) -> Side:
        """The rows of text alone, a caption for each picture."""
        lengths = self.packing.text_lengths
        packing = ops.make_packing(lengths, [-1] * len(lengths), None)
        return Side(packing.to(self.device), max(lengths))


def draw_mix(batch: int, augmentation: Augmentation, device: str, *, seed: int = 0) -> Mix:
    """Draw a batch; the same one for the same seed on every device."""
    generator = torch.Generator().manual_seed(seed)

    def pick(choices: Sequence[float]) -> float:
        return choices[int(torch.randint(len(choices), (), generator=generator))]

    sizes = [_cells(pick(ASPECTS), pick(augmentation.shorter), augmentation) for _ in range(batch)]
    return _mix(sizes, [int(pick(TEXT_LENGTHS)) for _ in range(batch)], device)


def full_mix(batch: int, size: tuple[int, int], device: str) -> Mix:
    """Pictures of one size in cells, and the longest captions: nothing is padded."""
    return _mix([size] * batch, [max(TEXT_LENGTHS)] * batch, device)


def _mix(sizes: Sequence[tuple[int, int]], texts: Sequence[int], device: str) -> Mix:
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    grid = ops.make_grid(sizes, largest)
    packing = ops.make_packing(texts, range(len(texts)), grid)
    return Mix(grid.to(device), packing.to(device))


def _cells(aspect: float, shorter: float, augmentation: Augmentation) -> tuple[int, int]:
    shorter = min(shorter, augmentation.longest / max(aspect, 1 / aspect))
    height, width = (shorter, shorter * aspect) if aspect >= 1 else (shorter / aspect, shorter)
    return -(-int(height) // augmentation.cell), -(-int(width) // augmentation.cell)
