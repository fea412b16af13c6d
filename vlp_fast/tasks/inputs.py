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


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The value with every tensor changed that it holds, in whatever records and containers."""
    if isinstance(value, Tensor):
        return function(value)
    if is_dataclass(value) and not isinstance(value, type):
        held = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
        return replace(value, **{name: _mapped(inner, function) for name, inner in held.items()})
    if isinstance(value, dict):
        return {name: _mapped(inner, function) for name, inner in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_mapped(inner, function) for inner in value)
    return value


def flat(rows: list[list[int]]) -> Tensor:
    """Lay rows end to end as one int64 tensor."""
    return torch.tensor([token for row in rows for token in row], dtype=torch.int64, device="cpu")
