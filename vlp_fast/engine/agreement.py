"""Whether all processes hold the same weights: nothing else would tell that they do not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlp_fast.engine.world import World


def fingerprint(module: nn.Module) -> int:
    """A number that other bits of any parameter or buffer would most likely change; it waits."""
    sums = [_bits(x.detach()).sum() * (2 * place + 1) for place, x in enumerate(_state(module))]
    return int(torch.stack(sums).sum()) if sums else 0


def check_agreement(world: World, module: nn.Module, step: int) -> None:
    """Compare the state of all processes.

    Raises:
        RuntimeError: if they differ, which processes from which.
    """
    if world.count == 1:
        return
    prints = world.all_values(fingerprint(module))
    if len(set(prints)) > 1:
        others = [rank for rank, value in enumerate(prints) if value != prints[0]]
        raise RuntimeError(
            f"after step {step}: processes {others} of {world.count} hold other weights than "
            "process 0; a parameter that one of them computes from its own data, or random numbers "
            "that are not the step's, would do that"
        )


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _bits(x: Tensor) -> Tensor:
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return x.contiguous().view(integers[x.element_size()]).long() if x.numel() else x.long()
