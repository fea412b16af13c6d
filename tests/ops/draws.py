"""Inputs of operators, drawn."""

import torch
from torch import Tensor

from vlp_fast import ops


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def targets() -> ops.Targets:
    return ops.make_targets(
        [
            (torch.rand(n, 4) * 0.4 + 0.2, torch.arange(n) % 3, torch.arange(n) % 3 - 1)
            for n in (2, 0, 3)
        ]
    )
