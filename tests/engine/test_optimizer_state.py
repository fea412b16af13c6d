"""State of optimisers is a parameter's, whatever its place, its group or the wrapper around it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from vlp_fast.engine.checkpoint import load_checkpoint, save_checkpoint
from vlp_fast.engine.optimizer_state import flatten, restore
from vlp_fast.engine.snapshot import HostMemory
from vlp_fast.errors import InputError


class Wrapper(nn.Module):
    """Puts a word before every name, as DistributedDataParallel and torch.compile do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def net(seed: int) -> nn.ModuleDict:
    """Three layers of one shape: a state that went to another place would not be noticed."""
    torch.manual_seed(seed)
    return nn.ModuleDict({name: nn.Linear(3, 3, bias=name == "a") for name in ("a", "b", "c")})


def advance(module: nn.ModuleDict, optimizers: list[Optimizer], steps: int = 1) -> None:
    for step in range(steps):
        for place, parameter in enumerate(module.parameters()):
            generator = torch.Generator().manual_seed(100 * step + place)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()


def adamw(*groups: list[nn.Parameter]) -> AdamW:
    return AdamW([{"params": group} for group in groups], lr=0.1, fused=True)


def two(module: nn.ModuleDict) -> list[Optimizer]:
    return [
        adamw([*module["a"].parameters(), module["b"].weight]),
        SGD([module["c"].weight], lr=0.1, momentum=0.9),
    ]


def test_a_tensor_has_its_parameters_name() -> None:
    module = net(1)
    optimizers = two(module)
    advance(module, optimizers)
    tensors, numbers = flatten(optimizers, module)
    assert set(tensors) == {
        *(
            f"{n}.{k}"
            for n in ("a.weight", "a.bias", "b.weight")
            for k in ("exp_avg", "exp_avg_sq")
        ),
        *("a.weight.step", "a.bias.step", "b.weight.step", "c.weight.momentum_buffer"),
    }
    assert [plain["kind"] for plain in numbers] == ["AdamW", "SGD"]
    assert [group["params"] for group in numbers[0]["groups"]] == [
        ["a.weight", "a.bias", "b.weight"]
    ]
    assert json.loads(json.dumps(numbers))[1]["groups"][0]["params"] == ["c.weight"]


def test_other_groups_in_another_order_go_on_with_the_same_state() -> None:
    module = net(1)
    optimizers: list[Optimizer] = [adamw(list(module.parameters()))]
    advance(module, optimizers, 3)
    other = net(2)
    other.load_state_dict(module.state_dict())
    c, b, a = other["c"].weight, other["b"].weight, [*other["a"].parameters()]
    others: list[Optimizer] = [adamw([c], [b]), adamw(a[::-1])]
    restore(others, other, *flatten(optimizers, module))
    advance(module, optimizers, 2)
    advance(other, others, 2)
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_what_a_wrapper_trained_is_the_modules() -> None:
    module = net(1)
    wrapped = Wrapper(module)
    optimizers: list[Optimizer] = [adamw(list(wrapped.parameters()))]
    advance(module, optimizers, 2)
    tensors, _ = flatten(optimizers, module)
    assert all(not name.startswith("module.") for name in tensors)


def test_parameters_of_another_module_are_told() -> None:
    with pytest.raises(ValueError, match=r"optimiser 1 a parameter of shape \(3, 3\)"):
        flatten([adamw(list((module := net(1)).parameters())), two(net(2))[1]], module)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda module: [adamw(list(module.parameters()))], "c.weight was moved by SGD and is"),
        (lambda module: two(module)[:1], "c.weight was moved by SGD and is moved by no optimiser"),
    ],
)
def test_state_of_another_kind_is_refused_by_name(tmp_path: Path, change: Any, said: str) -> None:
    module = net(1)
    optimizers = two(module)
    advance(module, optimizers)
    path = save_checkpoint(
        tmp_path, 1, HostMemory().take(module, optimizers, {"scaler": {}}), keep=1
    )
    with pytest.raises(InputError, match=rf"holds other optimisers \({said}.*--run-dir"):
        load_checkpoint(path, module, change(module))


def of_an_earlier_version(path: Path, optimizers: list[Optimizer]) -> None:
    """Write a checkpoint's optimisers again as they were called before: by their places."""
    tensors: dict[str, Tensor] = {}
    numbers = []
    for index, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        numbers.append({"groups": state["param_groups"], "values": {}})
        for place, values in state["state"].items():
            tensors |= {f"{index}.{place}.{name}": value for name, value in values.items()}
    file = path / "optimizer.safetensors"
    save_file(tensors, file)
    state = json.loads((path / "state.json").read_text()) | {"optimizers": numbers}
    state["files"][file.name][0] = file.stat().st_size
    (path / "state.json").write_text(json.dumps(state))


@pytest.mark.parametrize("is_old", [False, True])
def test_a_checkpoint_of_either_naming_goes_on_bit_for_bit(tmp_path: Path, is_old: bool) -> None:
    module = net(1)
    optimizers = two(module)
    advance(module, optimizers, 2)
    path = save_checkpoint(
        tmp_path, 1, HostMemory().take(module, optimizers, {"scaler": {}}), keep=1
    )
    if is_old:
        of_an_earlier_version(path, optimizers)
        assert "0.2.exp_avg" in load_file(path / "optimizer.safetensors")
    again = copy.deepcopy(net(2))
    others = two(again)
    load_checkpoint(path, again, others)
    advance(module, optimizers, 2)
    advance(again, others, 2)
    for name, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_an_earlier_version_with_other_parameters_is_refused(tmp_path: Path) -> None:
    module = net(1)
    optimizers = two(module)
    advance(module, optimizers)
    path = save_checkpoint(
        tmp_path, 1, HostMemory().take(module, optimizers, {"scaler": {}}), keep=1
    )
    of_an_earlier_version(path, optimizers[::-1])
    with pytest.raises(InputError, match="holds other optimisers"):
        load_checkpoint(path, module, optimizers)
