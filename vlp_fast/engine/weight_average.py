"""An exponential moving average of the weights, which is used in their place once training ends.

After each step that moved the weights w, with d of `--train.ema`,

    average = d * average + (1 - d) * w

It begins as the weights that the run begins with. As in `torch.optim.swa_utils`, whose functions
want to know on the host whether a step counts, buffers are not averaged: the statistics of batch
norm and the codes of a dictionary are the state of the run, and are used as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vlp_fast.engine.parameters import Parameters


class WeightAverage:
    """The average of a module's parameters, on their device; nothing here waits for it.

    Args:
        module: whose parameters stay the same objects.
        decay: d, in [0, 1); 0 for no average, of which every method does nothing.
        parameters: what of them is averaged; all of them, whole, if not given.
    """

    def __init__(
        self, module: nn.Module, decay: float, *, parameters: Parameters | None = None
    ) -> None:
        self._module = module
        self._decay = decay
        self._parameters = parameters or Parameters(module)
        self._weights: list[Tensor] = list(self._parameters.named.values()) if decay else []
        self._averages = [weight.detach().clone() for weight in self._weights]

    @property
    def is_on(self) -> bool:
        """Whether there is an average."""
        return self._decay > 0

    @torch.no_grad()
    def start(self) -> None:
        """Begin with the weights as they are."""
        if self.is_on:
            torch._foreach_copy_(self._averages, self._weights)

    @torch.no_grad()
    def update(self, has_moved: Tensor) -> None:
        """Take the weights in where `has_moved`, () bool on the device, is True."""
        if self.is_on:
            share = has_moved * (1.0 - self._decay)
            shares = [share] * len(self._weights)
            torch._foreach_lerp_(self._averages, self._weights, shares)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this context the module has the average; behind it, its weights again."""
        with contextlib.ExitStack() as exchanged:
            for weight, average in zip(self._weights, self._averages, strict=True):
                _exchange(weight, average)
                exchanged.callback(_exchange, weight, average)
            yield

    def state(self) -> dict[str, Tensor]:
        """The module's state with averages in place of weights; empty without an average."""
        if not self.is_on:
            return {}
        averages = dict(zip(self._parameters.named, self._averages, strict=True))
        names = self._parameters.names.items()
        return self._module.state_dict() | {name: averages[first] for name, first in names}


@torch.no_grad()
def _exchange(weight: Tensor, average: Tensor) -> None:
    # By value: compiled graphs, wrappers and optimisers know a weight by its memory.
    kept = weight.clone()
    weight.copy_(average)
    average.copy_(kept)
