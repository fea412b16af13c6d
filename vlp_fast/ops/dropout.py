"""Rates and seeds of dropout; a seed never leaves the device."""

import torch
from torch import Tensor

from vlp_fast.ops.operands import check_devices


def check_dropout(function: str, dropout_p: float) -> None:
    """Refuse rates outside [0, 1), and those that drop everything: rates are multiples of 2^-16.

    Raises:
        ValueError: so.
    """
    if not (dropout_p >= 0 and round(min(dropout_p, 1.0) * 2**16) < 2**16):
        raise ValueError(
            f"{function}: received dropout_p {dropout_p}, expected 0 to below 1, in steps of 2^-16"
        )


def seed_on(x: Tensor, seed: int | Tensor | None) -> Tensor:
    """Return a seed as a tensor () int64 on the device of x; None is drawn from its generator.

    Nothing waits for the device, and a captured graph draws another one at each replay.

    Raises:
        ValueError: a tensor of another shape, dtype or device.
    """
    if seed is None:
        return torch.randint(2**31 - 1, (), device=x.device)
    if not isinstance(seed, Tensor):
        return torch.full((), seed % 2**32, device=x.device)
    if seed.shape != () or seed.dtype != torch.int64:
        raise ValueError(
            f"dropout: received seed {tuple(seed.shape)} of {seed.dtype}, expected a number, or a "
            "tensor () of torch.int64"
        )
    check_devices("dropout", x, seed)
    return seed
