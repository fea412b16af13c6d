"""Batches of pictures with the aspects of COCO and the augmentation of DETR, and their captions.

A picture's shorter side is 480 to 800 pixels, the longer at most 1333, as E2E-VLP and DETR train.
Of SOHO's, 600 and 1000, a cell covers 64 pixels: 32 of the CNN, pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlp_fast import ops

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

    @property
    def places(self) -> Tensor:
        """(T,) row of the flattened padded batch of each packed row; text comes first."""
        lengths, device = self.packing.lengths, self.packing.cu_seqlens.device
        ranges = [
            number * self.padded_length + torch.arange(length, device=device)
            for number, length in enumerate(lengths)
        ]
        return torch.cat(ranges)

    @property
    def is_padding(self) -> Tensor:
        """(S, padded_length) bool."""
        size = (self.packing.num_sequences * self.padded_length,)
        mask = torch.ones(size, dtype=torch.bool, device=self.packing.cu_seqlens.device)
        return mask.index_fill(0, self.places, False).view(self.packing.num_sequences, -1)

    def pad(self, rows: Tensor) -> Tensor:
        """Maps (T, ...) to (S, padded_length, ...), zeros on padding."""
        shape = (self.packing.num_sequences, self.padded_length, *rows.shape[1:])
        return rows.new_zeros(shape).flatten(0, 1).index_copy(0, self.places, rows).view(shape)

    def unpad(self, padded: Tensor) -> Tensor:
        """Maps (S, padded_length, ...) to (T, ...)."""
        return padded.flatten(0, 1).index_select(0, self.places)


def draw_mix(batch: int, augmentation: Augmentation, device: str, *, seed: int = 0) -> Mix:
    """Draw a batch; the same one for the same seed on every device."""
    generator = torch.Generator().manual_seed(seed)

    def pick(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    sizes = [
        _cells(ASPECTS[pick(16)], pick(len(augmentation.shorter)), augmentation)
        for _ in range(batch)
    ]
    texts = [TEXT_LENGTHS[pick(8)] for _ in range(batch)]
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    grid = ops.make_grid(sizes, largest)
    packing = ops.make_packing(texts, range(batch), grid)
    return Mix(grid=grid.to(device), packing=packing.to(device))


def _cells(aspect: float, choice: int, augmentation: Augmentation) -> tuple[int, int]:
    shorter: float = augmentation.shorter[choice]
    shorter = min(shorter, augmentation.longest / max(aspect, 1 / aspect))
    height, width = (shorter, shorter * aspect) if aspect >= 1 else (shorter / aspect, shorter)
    return -(-int(height) // augmentation.cell), -(-int(width) // augmentation.cell)
