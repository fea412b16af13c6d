"""Floating-point operations of a run, by those of one step of each phase, which are counted.

What a step computes grows with its pixels, the padded ones included: in the CNN exactly so, and
behind it nearly. So the operations of other steps are those of the counted one, times their pixels
by its pixels (samples, where there are no pictures). A multiply-add counts two; products and
convolutions count, forward and backward, and what is computed twice counts twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vlp_fast.tasks.inputs import Inputs

COUNTED = 1
"""Which step of a phase is counted, from 0: in its first one, a shard may be computed twice."""


class Operations:
    """What this process computes between two logged lines; only `take` waits for the device.

    Args:
        is_on: whether anything is counted. A step rounds otherwise while it is: PyTorch then takes
            other kernels (2.11), so that a run that goes on has other bits.
    """

    def __init__(self, *, is_on: bool = True) -> None:
        self._is_on = is_on
        self._phases = [_Phase()]

    def begin_phase(self) -> None:
        """Other parts are trained from here on."""
        self._phases.append(_Phase())

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Within this context is a step of the phase; its shards are told by `count`."""
        phase = self._phases[-1]
        is_counted = self._is_on and phase.steps == COUNTED
        with _Counter() if is_counted else contextlib.nullcontext() as counter:
            yield
        if counter is not None:
            phase.counted = counter.total
        phase.steps += 1

    def count(self, inputs: Inputs) -> None:
        """A shard of the step."""
        phase = self._phases[-1]
        filled, padded = inputs.pixels
        if not padded:
            filled = padded = len(inputs.image_ids)
        phase.filled += filled
        phase.padded += padded
        if phase.steps == COUNTED:
            phase.size += padded

    def take(self) -> tuple[float, float] | None:
        """All operations since the call before, and those that were not of padding.

        None where a phase had no counted step yet, or nothing is counted.
        """
        done = [phase for phase in self._phases if phase.padded]
        self._phases = [replace(self._phases[-1], filled=0, padded=0)]
        if not self._is_on or not all(phase.size for phase in done):
            return None
        rates = [float(phase.counted) / phase.size for phase in done]
        return (
            sum(rate * phase.padded for rate, phase in zip(rates, done, strict=True)),
            sum(rate * phase.filled for rate, phase in zip(rates, done, strict=True)),
        )


@dataclass
class _Phase:
    """Steps so far; operations and size of the counted one; sizes since the last line."""

    steps: int = 0
    counted: int | Tensor = 0
    size: int = 0
    filled: int = 0
    padded: int = 0


class _Counter(TorchDispatchMode):
    """Adds up the formulas of the operators that run within this context, ours among them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int | Tensor = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total = self.total + formula(*args, **(kwargs or {}), out_val=out)
        return out
