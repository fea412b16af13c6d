"""CUDA graphs: what is computed of inputs of one shape is recorded once, and then replayed.

A picture alone keeps a GPU waiting for the CPU, which launches each of some hundred small kernels
by itself; a replay launches all of them at once. A graph is of one bucket: the sizes of the
pictures and the lengths of the texts beside them. A bucket is recorded when it comes for the second
time, and those that have not come for longest are given up.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

Function = Callable[..., Tensor]
Capture = Callable[..., Function]


class Graphs:
    """Functions by the bucket of their inputs, recorded where a GPU can.

    Args:
        capture: makes a replay of (function, *inputs), as `captured` does; None to record nothing.
        limit: buckets that are kept; each holds the memory of its inputs and its output.
    """

    def __init__(self, capture: Capture | None = None, *, limit: int = 32) -> None:
        self._capture = capture
        self._limit = limit
        self._known: OrderedDict[Hashable, Function | None] = OrderedDict()

    def __call__(self, bucket: Hashable, function: Function, *inputs: Tensor) -> Tensor:
        """What the function makes of the inputs.

        Args:
            bucket: equal where nothing but the values of the inputs differs.
            function: from tensors to one tensor, on the device, which reads no value on the host.
            inputs: of the function, of shapes and dtypes that the bucket determines.
        """
        if self._capture is None:
            return function(*inputs)
        is_known = bucket in self._known
        replay = self._known.get(bucket)
        if is_known and replay is None:
            replay = self._recorded(self._capture, function, inputs)
        self._keep(bucket, replay)
        return function(*inputs) if replay is None else replay(*inputs)

    def _recorded(
        self, capture: Capture, function: Function, inputs: tuple[Tensor, ...]
    ) -> Function:
        try:
            return capture(function, *inputs)
        except RuntimeError as error:  # an operation that cannot be recorded, or no memory for it
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            warnings.warn(f"goes on without a CUDA graph: {reason}", stacklevel=3)
            return function

    def _keep(self, bucket: Hashable, replay: Function | None) -> None:
        self._known[bucket] = replay
        self._known.move_to_end(bucket)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)


def captured(function: Function, *inputs: Tensor) -> Function:
    """Record what a function does on a GPU; the result does it again with other inputs.

    It runs once beforehand, on a stream of its own, so that libraries choose their algorithms and
    Triton compiles before the recording. The output is a copy: the next replay does not change it.
    """
    static = [value.clone() for value in inputs]
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        function(*static)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function(*static)

    def replay(*others: Tensor) -> Tensor:
        for kept, other in zip(static, others, strict=True):
            kept.copy_(other)
        graph.replay()
        return output.clone()

    return replay
