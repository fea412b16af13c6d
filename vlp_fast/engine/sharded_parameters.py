"""Parameters of which each process keeps some rows, with their gradients and optimisers' state.

By `torch.distributed.fsdp.fully_shard`: the rows of a Transformer layer, or of a stage of the CNN,
are gathered before it is computed, forward and backward, and let go behind it; those of all that is
left, before a shard, until its gradients are there. Gradients are added up between processes as
they come, and each process keeps those of its rows.

Optimisers, averages and checkpoints see plain tensors, which share the memory of the rows: fused
optimisers know no DTensor (PyTorch 2.11: `_fused_sgd_`), nor does safetensors.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.utils._pytree import register_dataclass

from vlp_fast.engine.parameters import Parameters
from vlp_fast.engine.world import World
from vlp_fast.errors import InputError
from vlp_fast.layers.gathered_units import gathered_units
from vlp_fast.tasks.step import StepOutput

# So that the backward pass through a loss is seen to begin.
register_dataclass(StepOutput)

Hooks = OrderedDict[int, Any]


class ShardedParameters(Parameters):
    """The rows that this process keeps of each parameter of a learner.

    Args:
        learner: on its device. What trains it calls it as a whole, and reaches its layers through
            its `__call__` alone.
        world: several processes.

    Raises:
        InputError: if a parameter has no rows.
    """

    is_sharded = True

    def __init__(self, learner: nn.Module, world: World) -> None:
        super().__init__(learner)
        self._world = world
        self._sizes = {name: parameter.shape for name, parameter in self.named.items()}
        _refuse_scalars(self._sizes)
        device = next(iter(self.named.values())).device
        self._mesh = DeviceMesh.from_group(_everybody(), device.type)
        self._is_fake = dist.get_backend() == dist.Backend.FAKE
        self._hooks: list[tuple[Hooks, int, Any]] = []
        for module in (*gathered_units(learner), learner):
            self._shard(module)
        self._rows = {name: cast(DTensor, p) for name, p in learner.named_parameters()}
        with torch.no_grad():
            self.named = {name: nn.Parameter(rows.to_local()) for name, rows in self._rows.items()}

    def _shard(self, module: nn.Module) -> None:
        for parameter in module.parameters():
            if not isinstance(parameter, DTensor):  # which refuses other strides (PyTorch 2.11)
                parameter.data = parameter.data.contiguous()
        kinds = (module._forward_pre_hooks, module._forward_hooks)
        before = [set(hooks) for hooks in kinds]
        unit = fully_shard(module, mesh=self._mesh)
        for hooks, earlier in zip(kinds, before, strict=True):
            ordered = cast(Hooks, hooks)
            self._hooks += [(ordered, key, hooks[key]) for key in hooks if key not in earlier]
        unit.set_gradient_divide_factor(1.0)  # sums: what is divided by, losses know
        unit.set_force_sum_reduction_for_comms(True)
        _fill_gradients(unit)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """As `Parameters.whole`; for its time, each process has all parameters besides."""
        # Not by `unshard`: a state_dict would end that, and memory that numpy saw cannot be freed.
        with torch.no_grad():
            whole = {name: self._whole(name, rows) for name, rows in self._rows.items()}
        for hooks, key, _ in self._hooks:
            del hooks[key]
        self._put(whole)
        try:
            yield
        finally:
            self._put(self._rows)
            for hooks, key, hook in self._hooks:
                hooks[key] = hook
                hooks.move_to_end(key, last=False)

    def _whole(self, name: str, rows: DTensor) -> nn.Parameter:
        return nn.Parameter(self._gather(name, rows), requires_grad=rows.requires_grad)

    def _put(self, parameters: Mapping[str, Tensor]) -> None:
        """Let the learner have these, by the names of `named`."""
        for every, name in self.names.items():
            owner, _, key = every.rpartition(".")
            module = self._learner.get_submodule(owner)
            module._parameters[key] = cast(nn.Parameter, parameters[name])

    def train(self, name: str, is_trained: bool) -> None:
        """As `Parameters.train`, from the next gathering on."""
        self._rows[name].requires_grad_(is_trained)

    @torch.no_grad()
    def collect(self) -> None:
        """Put the gradients of a step into the parameters of `named`: of these rows."""
        for name, rows in self._rows.items():
            gradient = cast(DTensor | None, rows.grad)
            self.named[name].grad = None if gradient is None else gradient.to_local()
            rows.grad = None
            if gradient is not None and self._is_fake:  # which leaves what it does not bring
                gradient.to_local().zero_()

    def norm(self, norm: Tensor) -> Tensor:
        """The norm over all processes; nobody waits for a GPU."""
        squares = norm.double().square()
        dist.all_reduce(squares)
        return squares.sqrt().to(norm.dtype)

    @torch.no_grad()
    def gathered(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """As `Parameters.gathered`, one tensor at a time."""
        for key, value in tensors.items():
            name = self.names.get(key) or self.names.get(key.rpartition(".")[0])
            # A number of an optimiser, such as its count of steps, is the same everywhere.
            is_part = name is not None and value.dim() > 0
            yield key, self._gather(cast(str, name), value) if is_part else value

    def part(self, name: str, tensor: Tensor) -> Tensor:
        """This process's rows of a whole tensor; one that is no parameter's shape, as it is."""
        if tensor.shape != self._sizes[name]:
            return tensor
        most = self._most(name)
        return tensor[most * self._world.rank : most * (self._world.rank + 1)]

    def loadable(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `Parameters.loadable`; what does not fit is left, for its error."""
        return {name: self._distributed(name, value) for name, value in state.items()}

    def common(self) -> Iterable[Tensor]:
        """Buffers."""
        return self._learner.buffers()

    def _distributed(self, name: str, value: Tensor) -> Tensor:
        known = self.names.get(name)
        if known is None or value.shape != self._sizes[known]:
            return value
        here = value.to(self.named[known].device)
        return distribute_tensor(here, self._mesh, [Shard(0)], src_data_rank=None)

    def _most(self, name: str) -> int:
        """Rows of all processes but perhaps the last ones, which may have fewer, or none."""
        return -(-self._sizes[name][0] // self._world.count)

    def _gather(self, name: str, value: Tensor) -> Tensor:
        rows = value.to_local() if isinstance(value, DTensor) else value
        count, *others = self._sizes[name]
        most = self._most(name)
        padded = rows.new_zeros(most, *others)
        padded[: len(rows)] = rows
        every = rows.new_empty(most * self._world.count, *others)
        dist.all_gather_into_tensor(every, padded)
        return every[:count]


def _fill_gradients(unit: Any) -> None:
    """Let a shard that calls the unit and leaves out a trained parameter give it a zero.

    FSDP2 sends what has a gradient (PyTorch 2.11): processes that leave out others would add up
    gradients of different parameters, or end where sizes differ.
    """
    group = unit._get_fsdp_state()._fsdp_param_group
    if group is None:
        return
    post_backward = group.post_backward

    def filled(*unused: Any) -> None:
        for parameter in group.fsdp_params if group.is_unsharded else ():
            whole = parameter.unsharded_param
            if whole.requires_grad and whole.grad is None:
                whole.grad = torch.zeros_like(whole)
        post_backward(*unused)

    group.post_backward = filled


def _refuse_scalars(sizes: Mapping[str, torch.Size]) -> None:
    for name, size in sizes.items():
        if not size:
            raise InputError(
                f"--train.reduction sharded: parameter {name} is a single number without rows; "
                "make it of shape (1,), or use --train.reduction fast"
            )


def _everybody() -> dist.ProcessGroup:
    group = dist.group.WORLD
    assert group is not None
    return group
