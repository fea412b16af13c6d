"""Backward passes of kernels, through which autograd does not see: second derivatives are refused.

`torch.autograd.function.once_differentiable` raises only where the graph is walked to its leaves:
`torch.autograd.grad(..., x)` with another way to x passes it by and returns what is left.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


class _Refused(torch.autograd.Function):
    """Gradients as they are, with a way back to all that they depend on, on which nobody passes."""

    @staticmethod
    def forward(ctx: Any, function: str, count: int, *tensors: Tensor | None) -> Gradients:
        ctx.function = function
        return tuple(None if x is None else x.view_as(x) for x in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        raise RuntimeError(
            f"{ctx.function}: asked for a second derivative, but its backward pass is a kernel that"
            " autograd cannot differentiate; use tensor operations of PyTorch's in its place"
        )


def once_differentiable(function: str) -> Callable[[Callable[..., Any]], Callable[..., Gradients]]:
    """Decorate the `backward` of an `autograd.Function`, which saves all that it depends on.

    Args:
        function: of the user, for the error.
    """

    def decorate(backward: Callable[..., Any]) -> Callable[..., Gradients]:
        @functools.wraps(backward)
        def run(ctx: Any, *grads: Tensor | None) -> Gradients:
            with torch.no_grad():
                found: Gradients = backward(ctx, *grads)
            # Compiled graphs refuse by themselves.
            if not torch.is_grad_enabled() or torch.compiler.is_compiling():
                return found
            operands = (*grads, *ctx.saved_tensors)
            tied: Gradients = _Refused.apply(  # type: ignore[no-untyped-call]
                function, len(found), *found, *operands
            )
            return tied

        return run

    return decorate
