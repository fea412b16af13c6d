"""The state of optimisers as named tensors and plain numbers, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

State = dict[str, Any]


def flatten(optimizers: list[Optimizer]) -> tuple[dict[str, Tensor], list[State]]:
    """Tensors named `<optimizer>.<parameter>.<name>`, and what json can hold of each optimiser."""
    tensors: dict[str, Tensor] = {}
    numbers: list[State] = []
    for index, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        plain: State = {"groups": state["param_groups"], "values": {}}
        for parameter, values in state["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"{index}.{parameter}.{name}"] = (
                        value.detach().cpu().clone().contiguous()
                    )
                else:
                    plain["values"][f"{parameter}.{name}"] = value
        numbers.append(plain)
    return tensors, numbers


def restore(optimizers: list[Optimizer], tensors: dict[str, Tensor], numbers: list[State]) -> None:
    """Put back what `flatten` returned, in place; the settings stay those of this run."""
    for index, (optimizer, plain) in enumerate(zip(optimizers, numbers, strict=True)):
        state: dict[int, State] = {}
        for key, value in tensors.items():
            owner, parameter, name = key.split(".")
            if int(owner) == index:
                state.setdefault(int(parameter), {})[name] = value
        for key, value in plain["values"].items():
            parameter, name = key.split(".")
            state.setdefault(int(parameter), {})[name] = value
        # The settings of this run, not of the one that wrote the file; only the order is its.
        groups = [
            {**now, "params": then["params"]}
            for now, then in zip(optimizer.param_groups, plain["groups"], strict=True)
        ]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        _match_layouts(optimizer)


def _match_layouts(optimizer: Optimizer) -> None:
    """Lay state out in memory as its parameter: fused optimisers walk both in one order."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
