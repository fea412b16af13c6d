"""What a checkpoint is going to hold, copied at one moment into memory of the host.

The next step may begin as soon as it is taken. On a GPU that is at once: the copies are queued
behind the step that is done and before the one that follows, and whoever reads them waits.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vlp_fast.engine.optimizer_state import flatten
from vlp_fast.engine.parameters import Parameters
from vlp_fast.weights.checkpoints import AVERAGE, MODEL, OPTIMIZER, State

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Model and optimisers at one moment.

    Attributes:
        files: tensors on the host, contiguous, each of memory of its own, by file and name.
        state: what state.json has besides step and files.
        copied: a GPU's event behind the copies; None where they are made.
    """

    files: dict[str, Tensors]
    state: State
    copied: torch.cuda.Event | None

    def wait(self) -> None:
        """Until the copies are made: before anything of `files` is read."""
        if self.copied is not None:
            self.copied.synchronize()


class HostMemory:
    """Memory for one snapshot after another, which is allocated once and of a GPU's pinned.

    Memory that the system has to find first costs as much again as the copy itself.
    """

    def __init__(self) -> None:
        self._files: dict[str, Tensors] = {}

    def take(
        self,
        model: nn.Module,
        optimizers: list[Optimizer],
        extra: State,
        average: Tensors | None = None,
        parameters: Parameters | None = None,
    ) -> Snapshot:
        """Copy everything; the snapshot before, whose memory this is, must have been written.

        Args:
            model: its state_dict, and the names of the optimisers' state.
            optimizers: of its parameters.
            extra: further json values.
            average: the state of the model with averaged weights; None or empty without.
            parameters: of the model; whole ones if not given. Of those in parts, the other
                processes call `give_parts`.
        """
        own = parameters or Parameters(model)
        now, numbers = _state(model, optimizers, average, own)
        with torch.no_grad():
            files = {name: self._copies(name, own.gathered(values)) for name, values in now.items()}
        state = copy.deepcopy({"optimizers": numbers, **extra})
        return Snapshot(files=files, state=state, copied=_event(now))

    def _copies(self, file: str, values: Iterable[tuple[str, Tensor]]) -> Tensors:
        before = self._files.get(file, {})
        # Tied weights are two copies: the file format refuses names that share memory.
        self._files[file] = {
            name: _place(before.get(name), value).copy_(value, non_blocking=True)
            for name, value in values
        }
        return self._files[file]


def give_parts(
    model: nn.Module, optimizers: list[Optimizer], average: Tensors, parameters: Parameters
) -> None:
    """This process's part in a `HostMemory.take` of another; arguments as there."""
    now, _ = _state(model, optimizers, average, parameters)
    for values in now.values():
        for _ in parameters.gathered(values):
            pass


def _state(
    model: nn.Module,
    optimizers: list[Optimizer],
    average: Tensors | None,
    parameters: Parameters,
) -> tuple[dict[str, Tensors], list[State]]:
    """What each file holds, of this process; what json can hold of each optimiser."""
    tensors, numbers = flatten(optimizers, parameters)
    now = {MODEL: model.state_dict(), OPTIMIZER: tensors}
    return (now | {AVERAGE: average} if average else now), numbers


def _place(before: Tensor | None, value: Tensor) -> Tensor:
    if before is not None and (before.shape, before.dtype) == (value.shape, value.dtype):
        return before
    return torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)


def _event(files: dict[str, Tensors]) -> torch.cuda.Event | None:
    if not any(value.is_cuda for values in files.values() for value in values.values()):
        return None
    event = torch.cuda.Event()
    event.record()
    return event
