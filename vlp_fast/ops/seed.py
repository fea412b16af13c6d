"""Seeds of dropout, which never leave the device."""

import torch
from torch import Tensor


def seed_on(device: torch.device, seed: int | Tensor | None) -> Tensor:
    """Return a seed as a tensor () int64 on a device; None is drawn from its generator.

    Nothing waits for the device, and a captured graph draws another one at each replay.
    """
    if seed is None:
        return torch.randint(2**31 - 1, (), device=device)
    return seed if isinstance(seed, Tensor) else torch.full((), seed, device=device)
