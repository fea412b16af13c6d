"""Running means of what a step produces, kept on the device until somebody looks."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from vlp_fast.tasks.step import StepOutput

NEXT_TO_NOTHING = 1e-9
"""Rows of a batch whose only loss was taken over none: a line has a loss in any case."""


def output_sums(output: StepOutput) -> tuple[tuple[str, ...], Tensor]:
    """Losses and accuracies of a batch by name, as (F, 2) float64 numerators and denominators.

    A loss weighs as many rows as it was taken over; the sum of several, of rows of several kinds,
    weighs 1 a batch.
    """
    total = output.total.detach().double()
    one = torch.ones_like(total)
    found = {"loss": (total, one)}
    for name, loss in (*output.losses.items(), *output.parts.items()):
        rows = output.counts[name][1].detach().double() if name in output.counts else one
        found[name] = loss.detach() * rows, rows
    if len(output.losses) == 1:
        weight = found[next(iter(output.losses))][1].clamp(min=NEXT_TO_NOTHING)
        found["loss"] = total * weight, weight
    for name, (right, count) in output.counts.items():
        found[f"{name}_accuracy"] = right.detach(), count.detach()
    sums = [torch.stack([value.double(), count.double()]) for value, count in found.values()]
    return tuple(found), torch.stack(sums)


class Averages:
    """Sums of numerators and denominators by name; only `means` and `state` wait."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, Tensor | int]] = {}

    def __bool__(self) -> bool:
        return bool(self._sums)

    def add(self, name: str, value: Tensor, count: Tensor | int = 1) -> None:
        """Add a scalar that stands for `count` things."""
        value = value.detach().double()
        if name in self._sums:
            sum_, total = self._sums[name]
            value, count = sum_ + value, total + count
        self._sums[name] = (value, count)

    def add_output(self, output: StepOutput) -> None:
        """Add every loss and every accuracy of a batch."""
        self.add_sums(*output_sums(output))

    def add_sums(self, names: tuple[str, ...], sums: Tensor) -> None:
        """Add what `output_sums` gave, or the sum of several."""
        for name, (value, count) in zip(names, sums, strict=True):
            self.add(name, value, count)

    def add_all(self, others: Averages) -> None:
        """Add what others have."""
        for name, (value, count) in others._sums.items():
            self.add(name, value, count)

    def state(self) -> dict[str, list[float]]:
        """Numerators and denominators by name, on the host, as exact as they are."""
        return {name: [float(value), float(count)] for name, (value, count) in self._sums.items()}

    @staticmethod
    def restored(state: Any) -> Averages:
        """What `state` gave; empty for anything else."""
        made = Averages()
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            pairs = {name: (float(value), float(count)) for name, (value, count) in state.items()}
            for name, pair in pairs.items():
                value, count = torch.tensor(pair, dtype=torch.float64, device="cpu")
                made._sums[name] = (value, count)
        return made

    def means(self) -> dict[str, float]:
        """The quotients, on the host; what stands for nothing has none."""
        sums = {name: (float(a), float(n)) for name, (a, n) in self._sums.items()}
        return {name: a / n for name, (a, n) in sums.items() if n}
