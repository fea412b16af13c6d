"""The parameters of a learner as optimisers, averages and checkpoints see them.

Here each process has all of them, whole; `sharded_parameters.py` has some rows of each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

from torch import Tensor, nn


class Parameters:
    """All parameters of a learner, whole.

    Args:
        learner: whose parameters stay the same objects.

    Attributes:
        named: what optimisers move, by name; a parameter of several names has the first.
        names: of all names, the one in `named`.
    """

    is_sharded = False

    def __init__(self, learner: nn.Module) -> None:
        self._learner = learner
        self.named: dict[str, nn.Parameter] = dict(learner.named_parameters())
        first = {parameter: name for name, parameter in self.named.items()}
        every = learner.named_parameters(remove_duplicate=False)
        self.names = {name: first[parameter] for name, parameter in every}

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Pairs of `named`, as a module has them."""
        return iter(self.named.items())

    def whole(self) -> AbstractContextManager[None]:
        """Within this context the learner computes by itself, whatever other processes do.

        All processes enter it together. What moves the weights in it is lost.
        """
        return contextlib.nullcontext()

    def train(self, name: str, is_trained: bool) -> None:
        """Say of a parameter of `named` whether it gets a gradient."""
        self.named[name].requires_grad_(is_trained)

    def collect(self) -> None:
        """Put the gradients of a step into the parameters of `named`."""

    def norm(self, norm: Tensor) -> Tensor:
        """The norm of all gradients from the one, (), of this process's `named`."""
        return norm

    def gathered(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Weights, averages and states of optimisers, and others, whole.

        All processes ask for the same ones and go through all of them.

        Args:
            tensors: by the parameter's name, or that and another, as `a.weight.exp_avg`.
        """
        yield from tensors.items()

    def part(self, name: str, tensor: Tensor) -> Tensor:
        """What this process has of a whole tensor that belongs to a parameter."""
        return tensor

    def loadable(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A whole state as the learner's `load_state_dict` takes it."""
        return state

    def common(self) -> Iterable[Tensor]:
        """What all processes have the same of."""
        yield from self._learner.parameters()
        yield from self._learner.buffers()
