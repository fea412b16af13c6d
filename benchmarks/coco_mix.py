"""Batches of pictures with the aspects of COCO and the augmentation of DETR, and their captions.

A picture's shorter side is 480 to 800 pixels, the longer at most 1333, as E2E-VLP and DETR train.
Of SOHO's, 600 and 1000, a cell covers 64 pixels: 32 of the CNN, pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from vlp_fast import ops

from .ragged import Problem, Ragged

ASPECTS = (0.66, 0.67, 0.75, 0.75, 1.0, *(1.33,) * 4, 1.34, 1.49, *(1.5,) * 3, 1.51, 1.77)
"""Width / height: 16 equally likely parts of 2,796 pictures of COCO's val2017."""
TEXT_LENGTHS = (11, 11, 12, 13, 13, 14, 15, 17)
"""Words of their captions with [CLS] and [SEP], 8 equally likely parts."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Sizes of pictures and of the CNN's cells, in pixels."""

    shorter: Sequence[int]
    longest: int
    cell: int


E2E_VLP = Augmentation(shorter=range(480, 801, 32), longest=1333, cell=32)
SOHO = Augmentation(shorter=(600,), longest=1000, cell=64)


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A batch: which rows there are, packed and padded as one pads a batch of pictures."""

    grid: ops.Grid
    packing: ops.Packing

    @property
    def padded_length(self) -> int:
        """Rows of each padded sequence: the longest text and the whole map."""
        height, width = self.grid.map_size
        return max(self.packing.text_lengths) + height * width

    @cached_property
    def rows(self) -> Ragged:
        """The rows of the sequences, packed and padded; text comes first."""
        device = str(self.packing.cu_seqlens.device)
        return Ragged(lengths=self.packing.lengths, padded_length=self.padded_length, device=device)

    @cached_property
    def texts(self) -> Ragged:
        """The rows of text alone, a caption for each picture."""
        lengths = self.packing.text_lengths
        return Ragged(lengths=lengths, padded_length=max(lengths), device=self.rows.device)

    @property
    def self_attention(self) -> Problem:
        """Every row to all rows of its sequence."""
        return Problem(queries=self.rows, keys=self.rows)


def draw_mix(batch: int, augmentation: Augmentation, device: str, *, seed: int = 0) -> Mix:
    """Draw a batch; the same one for the same seed on every device."""
    generator = torch.Generator().manual_seed(seed)

    def pick(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    sizes = [
        _cells(ASPECTS[pick(16)], pick(len(augmentation.shorter)), augmentation)
        for _ in range(batch)
    ]
    return _mix(sizes, [TEXT_LENGTHS[pick(8)] for _ in range(batch)], device)


def full_mix(batch: int, size: tuple[int, int], device: str) -> Mix:
    """Pictures of one size in cells, and the longest captions: nothing is padded."""
    return _mix([size] * batch, [max(TEXT_LENGTHS)] * batch, device)


def _mix(sizes: Sequence[tuple[int, int]], texts: Sequence[int], device: str) -> Mix:
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    grid = ops.make_grid(sizes, largest)
    packing = ops.make_packing(texts, range(len(texts)), grid)
    return Mix(grid=grid.to(device), packing=packing.to(device))


def _cells(aspect: float, choice: int, augmentation: Augmentation) -> tuple[int, int]:
    shorter: float = augmentation.shorter[choice]
    shorter = min(shorter, augmentation.longest / max(aspect, 1 / aspect))
    height, width = (shorter, shorter * aspect) if aspect >= 1 else (shorter / aspect, shorter)
    return -(-int(height) // augmentation.cell), -(-int(width) // augmentation.cell)
