"""Floating-point operations of a run, by those of one shard of each phase, which are counted.

What a shard computes grows with its pixels, the padded ones included: in the CNN exactly so, and
behind it nearly. So the operations of others are those of the counted one, times their pixels by
its pixels (samples, where there are no pictures). A multiply-add counts two; products and
convolutions count, forward and backward, and what is computed twice counts twice.

Under a counter autograd takes other ways (PyTorch 2.11: no gradient is changed in place), which
round otherwise. So a shard is computed once more for it, and nothing of that is kept.
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

COUNTED = 10
"""Before which step of a phase, from 0, a shard is counted: a run of so few needs no rates."""


class Operations:
    """What this process computes between two logged lines; only `take` waits for the device."""

    def __init__(self) -> None:
        self._phases = [_Phase()]

    def begin_phase(self) -> None:
        """Other parts are trained from here on."""
        self._phases.append(_Phase())

    @property
    def is_due(self) -> bool:
        """Whether the next shard is to be computed once more, within `counted`."""
        phase = self._phases[-1]
        return phase.steps == COUNTED and not phase.size

    @contextlib.contextmanager
    def counted(self, inputs: Inputs) -> Iterator[None]:
        """Within this context nothing but a shard of these inputs is computed."""
        with _Counter() as counter:
            yield
        phase = self._phases[-1]
        phase.counted, (_, phase.size) = counter.total, _sizes(inputs)

    def count(self, inputs: Inputs) -> None:
        """A shard of a step."""
        phase = self._phases[-1]
        filled, padded = _sizes(inputs)
        phase.filled += filled
        phase.padded += padded

    def end_step(self) -> None:
        """All shards of a step are done."""
        self._phases[-1].steps += 1

    def take(self) -> tuple[float, float] | None:
        """All operations since the call before, and those that were not of padding.

        None where no shard of a phase was counted yet.
        """
        done = [phase for phase in self._phases if phase.padded]
        self._phases = [replace(self._phases[-1], filled=0, padded=0)]
        if not all(phase.size for phase in done):
            return None
        rates = [float(phase.counted) / phase.size for phase in done]
        return (
            sum(rate * phase.padded for rate, phase in zip(rates, done, strict=True)),
            sum(rate * phase.filled for rate, phase in zip(rates, done, strict=True)),
        )


def _sizes(inputs: Inputs) -> tuple[int, int]:
    """Pixels of the pictures, and of their batch; samples, where there are none."""
    filled, padded = inputs.pixels
    return (filled, padded) if padded else (len(inputs.image_ids), len(inputs.image_ids))


@dataclass
class _Phase:
    """Steps so far; operations and size of the counted shard; sizes since the last line."""

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
