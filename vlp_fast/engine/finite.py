"""Whether numbers are finite, as a flag on their device that nobody waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Whether every number is finite, () bool on the device of the tensors.

    Args:
        tensors: at least one, floating, of one device; of any shapes and dtypes.
    """
    flags = [flat.isfinite().all() for flat in _flat(tensors)]
    return torch.stack(flags).all()


def still_finite(before: Iterable[Tensor], now: Iterable[Tensor]) -> Tensor:
    """Whether every number that was finite before is so now, () bool on the device.

    So a mask of infinities, which a module may hold, is none of a step's.

    Args:
        before, now: at least one, floating, of one device and one dtype; of the same shapes.
    """
    (was,), (is_,) = _flat(before), _flat(now)
    return (was.isfinite().logical_not() | is_.isfinite()).all()


def _flat(tensors: Iterable[Tensor]) -> list[Tensor]:
    """One vector a dtype: a few launches, where a ResNet-101 has 200 tensors of statistics."""
    kinds: dict[torch.dtype, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        kinds[tensor.dtype].append(tensor.detach().reshape(-1))
    return [torch.cat(group) for group in kinds.values()]
