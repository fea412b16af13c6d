"""What a test changes in the forward passes of a training."""

import contextlib
from collections.abc import Callable, Container, Iterator
from typing import Any

import pytest
import torch

from vlp_fast.engine.updater import Updater
from vlp_fast.tasks.averages import Averages
from vlp_fast.tasks.step import StepOutput
from vlp_fast.tasks.task import Learner


@contextlib.contextmanager
def each_forward(change: Callable[[int, StepOutput], object]) -> Iterator[None]:
    """The objective computes, and changes what a forward pass changes; then `change` is called.

    It gets the number of the pass, from 1, and the losses. Passes of an evaluation do not count.
    """
    calls = 0
    forward = Learner.forward

    def changed(self: Learner, objective: Any, inputs: Any) -> StepOutput:
        nonlocal calls
        output = forward(self, objective, inputs)
        if self.training:
            calls += 1
            change(calls, output)
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "forward", changed)
        yield


@contextlib.contextmanager
def poisoned(positions: Container[int]) -> Iterator[None]:
    """Gradients of steps at these places in the order of the samples are NaN, losses are not."""
    update = Updater.update

    def changed(self: Updater, step: int, objective: Any, batches: Any) -> Averages:
        handles = []
        if step in positions:
            weight = next(self._learner.parameters())
            handles.append(weight.register_hook(lambda gradient: gradient * torch.nan))
        figures = update(self, step, objective, batches)
        for handle in handles:
            handle.remove()
        return figures

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Updater, "update", changed)
        yield
