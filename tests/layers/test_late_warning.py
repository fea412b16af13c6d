"""Warnings about values on the device: at once on a CPU, one step later on a GPU."""

import copy
import pickle
import warnings

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vlp_fast.layers.late_warning import LateWarning

UP, DOWN = torch.tensor([[False, True]]), torch.tensor([[False, False]])


def told(warning: LateWarning, flags: Tensor) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warning.watch(flags)
    return [str(one.message) for one in caught]


def test_on_a_cpu_it_comes_at_once() -> None:
    warning = LateWarning("something is wrong")
    assert told(warning, DOWN) == []
    assert told(warning, UP) == ["something is wrong"]
    assert told(warning, DOWN) == []


def test_what_has_no_values_is_not_read() -> None:
    warning = LateWarning("")
    with FakeTensorMode() as mode:
        assert told(warning, mode.from_tensor(UP)) == []
    assert told(warning, UP.to("meta")) == []
    assert torch.compile(lambda x: (warning.watch(x), x.sum())[1], backend="eager")(UP) == 1


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_warns_too(clone) -> None:
    assert told(clone(LateWarning("again")), UP) == ["again"]


@pytest.mark.gpu
def test_on_a_gpu_it_comes_when_it_is_known_without_a_wait() -> None:
    warning = LateWarning("late")
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert told(warning, UP.pin_memory().to("cuda", non_blocking=True)) == []
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    assert told(warning, DOWN.cuda()) == ["late"]
    torch.cuda.synchronize()
    assert told(warning, DOWN.cuda()) == []


@pytest.mark.gpu
def test_a_captured_graph_is_left_alone() -> None:
    warning, flags = LateWarning(""), UP.cuda()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        warning.watch(flags)
    graph.replay()
