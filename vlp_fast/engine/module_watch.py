"""What every module of a model gives in one step, forward and backward, in the order of time.

A hook looks at each module's outputs and buffers as it returns, and at the gradients of the outputs
as they come. It waits for the device at each, so this is for one step that is looked into.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vlp_fast.data.parts import parts_of
from vlp_fast.engine.tensor_summary import Summary, broken_rows, summary_of

OUTPUT, GRADIENT = "output", "gradient of the output"
STATISTICS, WEIGHTS, LOSS = "statistics", "gradient of the weights", "loss"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Numbers of a module at one moment.

    Attributes:
        module: its name; of a loss, the loss's.
        kind: its class.
        what: one of the constants above.
        summary: of the numbers.
        is_fed_finite: whether all inputs were finite, of an output; else True.
        rows: of an output with a row for each sample, the samples whose row is not finite.
    """

    module: str
    kind: str
    what: str
    summary: Summary
    is_fed_finite: bool = True
    rows: tuple[int, ...] = ()


class ModuleWatch:
    """Within this context, looks at all modules of a model.

    Args:
        model: in training mode; the root itself is not looked at.
        samples: of the batch.

    Attributes:
        seen: in the order of time.
    """

    def __init__(self, model: nn.Module, samples: int) -> None:
        self._model = model
        self._samples = samples
        self._handles: list[RemovableHandle] = []
        self._is_forward = True
        self._before: dict[str, int] = {}
        self.seen: list[Seen] = []

    def __enter__(self) -> ModuleWatch:
        for name, module in self._model.named_modules():
            if name:
                self._before[name] = _buffers(module).non_finite
                hook = partial(self._forward, name)
                self._handles.append(module.register_forward_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def losses(self, losses: dict[str, Tensor]) -> None:
        """The forward pass is over: what modules compute from here on, they compute again."""
        self._is_forward = False
        for name, loss in losses.items():
            self._add(name, "", LOSS, summary_of(loss))

    def weights(self) -> None:
        """The backward pass is over: look at the gradients of the weights, the last ones first."""
        for name, module in reversed([*self._model.named_modules()]):
            gradients = [p.grad for p in module.parameters(recurse=False) if p.grad is not None]
            if gradients:
                found = sum(map(summary_of, gradients), Summary())
                self._add(name, _kind(module), WEIGHTS, found)

    def statistics(self, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
        """Look at what the shard would change besides weights."""
        for name, tensor in zip(names, tensors, strict=True):
            self._add(name, "", STATISTICS, summary_of(tensor))

    def _add(self, name: str, kind: str, what: str, summary: Summary, **more: Any) -> None:
        self.seen.append(Seen(module=name, kind=kind, what=what, summary=summary, **more))

    def _forward(self, name: str, module: nn.Module, words: Any, named: Any, output: Any) -> None:
        if not self._is_forward:
            return
        kind = _kind(module)
        tensors = [*_floating(output)]
        with torch.no_grad():
            found = sum(map(summary_of, tensors), Summary())
            fed = all(bool(x.isfinite().all()) for x in _floating((words, named)))
            rows = tuple(dict.fromkeys(self._rows(tensors))) if found.non_finite else ()
            self._add(name, kind, OUTPUT, found, is_fed_finite=fed, rows=rows)
            buffers = _buffers(module)
        if buffers.non_finite > self._before[name]:
            self._add(name, kind, STATISTICS, buffers, is_fed_finite=fed)
        for tensor in tensors:
            if tensor.requires_grad:
                tensor.register_hook(partial(self._backward, name, kind))

    def _backward(self, name: str, kind: str, gradient: Tensor) -> None:
        with torch.no_grad():
            rows = tuple(self._rows([gradient]))
            self._add(name, kind, GRADIENT, summary_of(gradient), rows=rows)

    def _rows(self, tensors: Sequence[Tensor]) -> Iterator[int]:
        for tensor in tensors:
            if tensor.dim() > 1 and len(tensor) == self._samples:
                yield from broken_rows(tensor)


def _kind(module: nn.Module) -> str:
    """Its class; of a module whose weights are in parts, FSDP2 has made one with a prefix."""
    return type(module).__name__.removeprefix("FSDP")


def _floating(value: Any) -> Iterator[Tensor]:
    return (x for x in parts_of(value, Tensor) if x.is_floating_point())


def _buffers(module: nn.Module) -> Summary:
    own = (x for x in module.buffers(recurse=False) if x.is_floating_point())
    return sum(map(summary_of, own), Summary())
