"""Functions under `torch.compile`, with their gradients, beside themselves."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def same_compiled(function: Callable[..., Any], *inputs: Tensor) -> None:
    """The compiled function and its backward equal the eager ones, twice with other sizes."""
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = []
    for run in (function, compiled):
        leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
        out = run(*leaves)
        gradients = []
        if out.requires_grad:
            out.square().sum().backward()
            gradients = [x.grad for x in leaves if x.grad is not None]
            assert gradients
        results.append([out.detach(), *gradients])
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(traced, eager)
