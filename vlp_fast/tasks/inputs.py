"""A batch: a record of tensors that the loader makes and a step reads."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from vlp_fast.data.parts import changed


class Inputs:
    """Base of the records that `collate` makes: frozen dataclasses of tensors and records.

    Attributes:
        image_ids: identities of the samples, whose number is the batch's size.
        problems: what was wrong with the samples, for the log.
    """

    image_ids: tuple[int | str, ...]
    problems: tuple[str, ...]

    @property
    def pixels(self) -> tuple[int, int]:
        """Pixels of the pictures alone, and of their padded batch; none where there are none."""
        return 0, 0

    @property
    def tokens(self) -> int:
        """Rows that encoders read, words and cells of pictures, none of padding; 0 if unknown."""
        return 0

    def to(self, device: torch.device) -> Self:
        """Copy every tensor to the device without waiting, images as channels-last."""

        def move(value: Tensor) -> Tensor:
            layout = torch.channels_last if value.dim() == 4 else torch.preserve_format
            return value.to(device, non_blocking=True, memory_format=layout)

        moved: Self = changed(self, Tensor, move)
        return moved

    def pin_memory(self) -> Self:
        """Copy every tensor to page-locked memory, from which a GPU copies without waiting."""
        pinned: Self = changed(self, Tensor, Tensor.pin_memory)
        return pinned


def flat(rows: list[list[int]]) -> Tensor:
    """Lay rows end to end as one int64 tensor."""
    return torch.tensor([token for row in rows for token in row], dtype=torch.int64, device="cpu")
