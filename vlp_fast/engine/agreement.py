"""Whether all processes began with the same and hold the same weights: nothing else would tell."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vlp_fast.engine.experiment import Experiment
from vlp_fast.engine.world import World
from vlp_fast.errors import InputError


def check_same_start(experiment: Experiment) -> None:
    """Compare what the processes, perhaps of several machines, have read and chosen.

    Raises:
        InputError: on one that differs from the first.
    """
    precision = experiment.precision
    mine = {
        **experiment.identity,
        "number of steps": experiment.total_steps,
        "device": precision.device.type,
        "precision": str(precision.dtype).removeprefix("torch."),
    }
    first = experiment.world.first_value(mine)
    others = [name for name, value in mine.items() if value != first[name]]
    if others:
        raise InputError(
            f"has other {', '.join(others)} than process 0; give all machines the same files, "
            "packages and kind of GPU, or say --data.decoder and --train.precision"
        )


def fingerprint(state: Iterable[Tensor]) -> int:
    """A number that other bits of any of these tensors would most likely change; it waits."""
    sums = [_bits(x.detach()).sum() * (2 * place + 1) for place, x in enumerate(state)]
    return int(torch.stack(sums).sum()) if sums else 0


def check_agreement(world: World, state: Iterable[Tensor], step: int) -> None:
    """Compare what all processes should have the same of, after a step.

    Raises:
        RuntimeError: if they differ, which processes from which.
    """
    if world.count == 1:
        return
    prints = world.all_values(fingerprint(state))
    if len(set(prints)) > 1:
        others = [rank for rank, value in enumerate(prints) if value != prints[0]]
        raise RuntimeError(
            f"after step {step}: processes {others} of {world.count} hold other weights than "
            "process 0; a parameter that one of them computes from its own data, or random numbers "
            "that are not the step's, would do that"
        )


def _bits(x: Tensor) -> Tensor:
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return x.contiguous().view(integers[x.element_size()]).long() if x.numel() else x.long()
