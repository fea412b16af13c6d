"""A batch: a record of tensors that the loader makes and a step reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor


class Inputs:
    """Base of the records that `collate` makes: frozen dataclasses of tensors and records.

    Attributes:
        image_ids: identities of the samples, whose number is the batch's size.
        problems: what was wrong with the samples, for the log.
    """

    image_ids: tuple[int | str, ...]
    problems: tuple[str, ...]

    def to(self, device: torch.device) -> Self:
        """Copy every tensor to the device without waiting, images as channels-last."""

        def move(value: Tensor) -> Tensor:
            layout = torch.channels_last if value.dim() == 4 else torch.preserve_format
            return value.to(device, non_blocking=True, memory_format=layout)

        moved: Self = _mapped(self, move)
        return moved

    def pin_memory(self) -> Self:
        """Copy every tensor to page-locked memory, from which a GPU copies without waiting."""
        pinned: Self = _mapped(self, Tensor.pin_memory)
        return pinned


def _mapped(record: Any, function: Callable[[Tensor], Tensor]) -> Any:
    changed = {}
    for entry in fields(record):
        value = getattr(record, entry.name)
        if isinstance(value, Tensor):
            changed[entry.name] = function(value)
        elif is_dataclass(value):
            changed[entry.name] = _mapped(value, function)
    return replace(record, **changed)


def flat(rows: list[list[int]]) -> Tensor:
    """Lay rows end to end as one int64 tensor."""
    return torch.tensor([token for row in rows for token in row], dtype=torch.int64, device="cpu")
