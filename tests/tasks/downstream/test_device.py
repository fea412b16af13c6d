"""What a batch of samples becomes on a device: whole, and without a wait."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from sample_tasks import Build, shown
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast.tasks.batch_key import BatchKey

ALL = pytest.mark.parametrize("name", ["vqa", "nlvr2", "ve"])


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor of a batch, wherever it is."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors(getattr(value, field.name))
    elif isinstance(value, dict):
        yield from tensors(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from tensors(inner)


@ALL
def test_every_tensor_of_a_batch_is_moved(build: Build, name: str) -> None:
    task = build(name)
    inputs = task.collate(shown(task, 0, 1, 2), BatchKey(task.train, 0, 0))
    before, moved = list(tensors(inputs)), list(tensors(inputs.to(torch.device("meta"))))
    assert {tensor.device.type for tensor in before} == {"cpu"}
    assert {tensor.device.type for tensor in moved} == {"meta"}
    assert [t.shape for t in moved] == [t.shape for t in before]
    assert all(any(t is held for held in before) for t in inputs.targets.values())


@ALL
def test_a_step_waits_for_nothing(build: Build, name: str) -> None:
    task = build(name)
    inputs = task.collate(shown(task, 0, 1, 2), BatchKey(task.train, 0, 0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        output = task.learner(task, inputs)
        assert output.total.shape == ()
        torch.autograd.grad(output.total, list(task.learner.heads.parameters()))  # type: ignore[union-attr]
