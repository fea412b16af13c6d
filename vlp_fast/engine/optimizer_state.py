"""The state of optimisers as named tensors and plain numbers, and back.

A tensor is called as its parameter is in the module, and what it is: `model.norm.weight.exp_avg`.
So neither the order of the parameters nor their groups matter, nor a wrapper around the module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

State = dict[str, Any]


class Named(Protocol):
    """A module, or what its optimisers move in place of its parameters."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Each parameter once, with its name."""


def flatten(optimizers: list[Optimizer], module: Named) -> tuple[dict[str, Tensor], list[State]]:
    """The tensors themselves, named `<parameter>.<name>`, and what json can hold of each optimiser.

    Args:
        optimizers: each parameter is of one of them.
        module: whose names the parameters have; not a wrapper around it.

    Raises:
        ValueError: if an optimiser has a parameter that the module has not.
    """
    tensors: dict[str, Tensor] = {}
    numbers: list[State] = []
    for optimizer, names in zip(optimizers, _names(optimizers, module), strict=True):
        state = optimizer.state_dict()
        plain: State = {"kind": type(optimizer).__name__, "groups": [], "values": {}}
        for group in state["param_groups"]:
            plain["groups"].append({**group, "params": [names[place] for place in group["params"]]})
        for place, values in state["state"].items():
            for name, value in values.items():
                kept = tensors if isinstance(value, Tensor) else plain["values"]
                kept[f"{names[place]}.{name}"] = value
        numbers.append(plain)
    return tensors, numbers


def restore(
    optimizers: list[Optimizer],
    module: Named,
    tensors: dict[str, Tensor],
    numbers: list[State],
    part: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor,
) -> None:
    """Put back what `flatten` returned, in place; groups and settings stay those of this run.

    What an earlier version wrote, which counted optimisers and parameters, has their order.

    Args:
        optimizers, module: as `flatten` has them.
        tensors, numbers: what it returned.
        part: makes of a tensor and its parameter's name what the optimiser has of it.

    Raises:
        ValueError: if it is of other parameters, or of another kind of optimiser.
    """
    now = flatten(optimizers, module)[1]
    states: dict[str, State] = {}
    for key, value in _values(tensors, numbers, now).items():
        parameter, _, name = key.rpartition(".")
        is_tensor = isinstance(value, Tensor)
        states.setdefault(parameter, {})[name] = part(parameter, value) if is_tensor else value
    for optimizer, own in zip(optimizers, now, strict=True):
        names = _parameters(own)
        state = {place: states[name] for place, name in enumerate(names) if name in states}
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        _match_layouts(optimizer)


def _names(optimizers: list[Optimizer], module: Named) -> list[list[str]]:
    """The names of each optimiser's parameters, in the order in which it counts them."""
    known = {parameter: name for name, parameter in module.named_parameters()}
    own = [[p for group in o.param_groups for p in group["params"]] for o in optimizers]
    for index, parameters in enumerate(own):
        if strange := [p for p in parameters if p not in known]:
            raise ValueError(
                f"optimizer_state: received in optimiser {index} a parameter of shape "
                f"{tuple(strange[0].shape)} that the module has not; give the module that holds all"
            )
    return [[known[parameter] for parameter in parameters] for parameters in own]


def _values(tensors: dict[str, Tensor], then: list[State], now: list[State]) -> State:
    """What belongs to parameters, tensors and numbers, named as now."""
    if any("kind" not in plain for plain in then):
        return _named(tensors, then, now)
    _check_same(_kinds(then), _kinds(now))
    values: State = dict(tensors)
    for plain in then:
        values |= plain["values"]
    return values


def _kinds(numbers: list[State]) -> dict[str, str]:
    """The kind of optimiser that each parameter has."""
    return {name: plain["kind"] for plain in numbers for name in _parameters(plain)}


def _parameters(plain: State) -> list[Any]:
    return [parameter for group in plain["groups"] for parameter in group["params"]]


def _check_same(then: dict[str, str], now: dict[str, str]) -> None:
    for name in {**now, **then}:
        before, after = (kinds.get(name, "no optimiser") for kinds in (then, now))
        if before != after:
            raise ValueError(f"{name} was moved by {before} and is moved by {after}")


def _named(tensors: dict[str, Tensor], then: list[State], now: list[State]) -> State:
    """State of an earlier version, `<optimizer>.<place>.<name>`, as it is written now."""
    new: dict[str, str] = {}
    values: State = dict(tensors)
    for index, (old, own) in enumerate(zip(then, now, strict=True)):
        places = (f"{index}.{place}" for place in _parameters(old))
        new |= dict(zip(places, _parameters(own), strict=True))
        values |= {f"{index}.{key}": value for key, value in old["values"].items()}
    parts = ((key.rpartition("."), value) for key, value in values.items())
    return {f"{new[owner]}.{name}": value for (owner, _, name), value in parts}


def _match_layouts(optimizer: Optimizer) -> None:
    """Lay state out in memory as its parameter: fused optimisers walk both in one order."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                like = parameter if value.shape == parameter.shape else value
                values[name] = torch.empty_like(like, dtype=value.dtype).copy_(value)
