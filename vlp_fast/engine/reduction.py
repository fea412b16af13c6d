"""How gradients and sums of the shards become those of the step, over all processes.

Fast: gradients are added up as they come, and between processes by DistributedDataParallel, during
the backward pass. Exact: in a tree over the shards, so that any number of processes that is a power
of two gives the same bits. Sharded: as fast, each process its rows, by the parameters themselves.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.parallel import DistributedDataParallel

from vlp_fast.engine.parameters import Parameters
from vlp_fast.engine.tree_sum import TreeSum, Values, tree_sum
from vlp_fast.engine.world import World
from vlp_fast.errors import InputError

BUCKET = 2**24
"""Numbers that are sent at once, at least."""
MISSING = (
    "Reduction: received a shard without gradients of parameters that the first one of the phase "
    "had; expected the same of all"
)


class Reduction:
    """Adds up what the shards of a step give.

    Args:
        learner: whose gradients these are.
        world: the processes.
        shards: of a step, over all processes.
        is_exact: in a tree.
        parameters: of the learner; whole ones if not given.

    Raises:
        InputError: if that is asked for and impossible.
    """

    def __init__(
        self,
        learner: nn.Module,
        world: World,
        shards: int,
        *,
        is_exact: bool,
        parameters: Parameters | None = None,
    ) -> None:
        if is_exact and world.count > 1 and shards & (shards - 1):
            raise InputError(
                f"--train.reduction exact: {shards} shards a step are no power of two; make them "
                "one, or use --train.reduction fast"
            )
        self._learner = learner
        self._world = world
        self._is_exact = is_exact
        self._parameters = parameters or Parameters(learner)
        self._is_wrapped = not (is_exact or world.count == 1 or self._parameters.is_sharded)
        self._tree = TreeSum()
        self._trained: list[nn.Parameter] = []
        self._frozen: list[str] = []
        self._module: Callable[..., Any] = learner
        self.factor = (world.count if self._is_wrapped else 1) / shards
        """What the loss of a shard is multiplied by."""
        self._is_simple = not is_exact and world.count == 1
        self.is_begun = self._is_simple
        """Whether the parameters are known that the phase trains, where that matters."""

    def end_phase(self) -> None:
        """Others are trained from here: what this phase did not need may move again."""
        for name in self._frozen:
            self._parameters.train(name, True)
        self._frozen, self._module, self.is_begun = [], self._learner, self._is_simple

    def begin_phase(self) -> list[str]:
        """Take note of the parameters that have a gradient by now: the phase trains these.

        Others are frozen, as DistributedDataParallel waits for every one that is not. One that
        is thawed after it was wrapped would never be averaged, so each phase has a new wrapper.
        To be called where the parameters are whole.

        Returns:
            Names of the others, but for those that were frozen before.
        """
        named = {name: p for name, p in self._learner.named_parameters() if p.requires_grad}
        candidates = list(named.values())
        is_used = torch.tensor([p.grad is not None for p in candidates], dtype=torch.uint8)
        if self._world.count > 1:
            dist.all_reduce(is_used, dist.ReduceOp.MAX, group=self._world.host)
        used = dict(zip(named, map(bool, is_used.tolist()), strict=True))
        for name, parameter in named.items():
            parameter.grad = None
            self._parameters.train(name, used[name])
        self._trained = [self._parameters.named[name] for name in named if used[name]]
        self._frozen = [name for name in named if not used[name]]
        if self._is_wrapped:
            # Of a convolution of one pixel, a gradient in channels-last has strides of its own.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            self._module = DistributedDataParallel(
                self._learner, broadcast_buffers=False, gradient_as_bucket_view=True
            )
            if _is_fake():
                self._module.register_comm_hook(None, lambda _, bucket: _sent_to_nobody(bucket))
        self.is_begun = True
        return self._frozen

    @contextlib.contextmanager
    def shard(self, *, is_last: bool) -> Iterator[Callable[..., Any]]:
        """Forward and backward of a shard: what to call in place of the learner."""
        if isinstance(self._module, DistributedDataParallel) and not is_last:
            with self._module.no_sync():
                yield self._module
        else:
            yield self._module

    def add(self, sums: Values) -> None:
        """The shard is done: its sums, and its gradients, which lie in the parameters."""
        if not self._is_exact:
            self._tree.add(sums)
            return
        gradients = [p.grad for p in self._trained if p.grad is not None]
        if len(gradients) != len(self._trained):
            raise RuntimeError(MISSING)
        for parameter in self._trained:
            parameter.grad = None
        self._tree.add([*gradients, *sums])

    def take(self) -> Values:
        """The step's sums; its gradients lie in the parameters."""
        values = self._over_processes(self._tree.take())
        self._parameters.collect()
        if self._parameters.is_sharded and any(p.grad is None for p in self._trained):
            raise RuntimeError(MISSING)
        if self._is_exact:
            for parameter, gradient in zip(self._trained, values, strict=False):
                parameter.grad = gradient
            values = values[len(self._trained) :]
        return values

    def _over_processes(self, values: Values) -> Values:
        for bucket in _buckets(values) if self._world.count > 1 else ():
            flat = _flatten_dense_tensors(bucket)
            flat = _in_a_tree(flat, self._world.count) if self._is_exact else _as_it_comes(flat)
            # In place, so that each keeps its layout: fused optimisers walk gradient and weight
            # in the order of the memory.
            torch._foreach_copy_(bucket, list(_unflatten_dense_tensors(flat, bucket)))
        return values


def _buckets(values: Values) -> Iterator[Values]:
    """Values that travel together: of one type, and not too many."""
    for dtype in dict.fromkeys(value.dtype for value in values):
        bucket: Values = []
        size = 0
        for value in values:
            if value.dtype != dtype:
                continue
            bucket.append(value)
            size += value.numel()
            if size >= BUCKET:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket


def _is_fake() -> bool:
    return dist.get_backend() == dist.Backend.FAKE


def _sent_to_nobody(bucket: Any) -> torch.futures.Future[Tensor]:
    """What DistributedDataParallel does by itself, but for the result, which a fake group lacks."""
    result: torch.futures.Future[Tensor] = torch.futures.Future()
    result.set_result(_as_it_comes(bucket.buffer()))
    return result


def _as_it_comes(flat: Tensor) -> Tensor:
    dist.all_reduce(flat)
    return flat


def _in_a_tree(flat: Tensor, count: int) -> Tensor:
    """The sum over processes as pairs of pairs, at the traffic of an all-reduce."""
    part = -(-flat.numel() // count)
    padded = flat.new_zeros(part * count)
    padded[: flat.numel()] = flat
    received = torch.empty_like(padded)
    dist.all_to_all_single(received, padded)
    total = tree_sum(list(received.view(count, part)))
    dist.all_gather_into_tensor(padded, total.contiguous())
    # A fake group brings nothing: its sum is what this process has.
    return flat if _is_fake() else padded[: flat.numel()]
