"""Processes that differ are found, before the first step and after it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from vlp_fast.engine.agreement import check_same_start, fingerprint
from vlp_fast.engine.parameters import Parameters
from vlp_fast.engine.world import World
from vlp_fast.errors import InputError


class Second(World):
    """Hears what the first has read."""

    def first_value(self, value: Any) -> Any:
        return {**value, "data": {"train": "100 records"}, "precision": "bfloat16"}


def experiment(world: World, data: object, dtype: torch.dtype) -> Any:
    precision = SimpleNamespace(device=torch.device("cpu"), dtype=dtype)
    identity = {"classes": ["dog"], "data": data}
    return SimpleNamespace(world=world, identity=identity, total_steps=6, precision=precision)


def test_processes_that_read_other_data_or_compute_otherwise() -> None:
    second = Second(rank=1, count=2)
    check_same_start(experiment(World(), {"train": "99 records"}, torch.float32))
    check_same_start(experiment(second, {"train": "100 records"}, torch.bfloat16))
    with pytest.raises(InputError, match="has other data than process 0"):
        check_same_start(experiment(second, {"train": "99 records"}, torch.bfloat16))
    with pytest.raises(InputError, match="has other precision than process 0"):
        check_same_start(experiment(second, {"train": "100 records"}, torch.float16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_fingerprint_changes_with_any_bit(dtype: torch.dtype) -> None:
    net = nn.BatchNorm1d(5).to(dtype)
    common = Parameters(net).common
    before = fingerprint(common())
    assert fingerprint(common()) == before
    for x in net.state_dict().values():
        kept = x.clone()
        x.view(-1)[-1:] += 2.0**-7 if x.is_floating_point() else 1
        assert fingerprint(common()) != before
        x.copy_(kept)
    assert fingerprint(common()) == before
