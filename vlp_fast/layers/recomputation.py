"""Layers that compute their forward pass again in the backward pass instead of keeping it.

Of each Transformer layer and of each residual block of a CNN, a step then keeps the input alone,
and while one of them is differentiated, what it has inside: `torch.utils.checkpoint`, for one more
forward pass of these layers. Dropout draws the same again, and batch norm's statistics move once.

Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from vlp_fast.layers.residual_block import BasicBlock, Bottleneck
from vlp_fast.layers.transformer import ResidualLayer

Forward = Callable[..., Any]
Context = contextlib.AbstractContextManager[None]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def recompute_layers(model: nn.Module) -> None:
    """Let layers and residual blocks of a model compute again; names and values stay the same."""
    for module in model.modules():
        if isinstance(module, ResidualLayer):
            module.forward = _recomputed(module.forward)
        elif isinstance(module, BasicBlock | Bottleneck):
            norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
            module.forward = _recomputed(module.forward, norms)  # type: ignore[method-assign]


def _recomputed(forward: Forward, norms: list[_BatchNorm] | None = None) -> Forward:
    """The same, kept by its inputs; `norms` are those within a block, which draws no numbers."""

    def again() -> tuple[Context, Context]:
        return contextlib.nullcontext(), _still(norms or [])

    def run(*inputs: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs, **options)
        return checkpoint(
            forward,
            *inputs,
            use_reentrant=False,
            preserve_rng_state=norms is None,
            context_fn=again,
            **options,
        )

    return run


@contextlib.contextmanager
def _still(norms: list[_BatchNorm]) -> Iterator[None]:
    """Within this context norms move copies of their statistics, not these."""
    kept = [
        (norm, name, norm.get_buffer(name))
        for norm in norms
        if norm.training and norm.track_running_stats
        for name in STATISTICS
    ]
    for norm, name, value in kept:
        setattr(norm, name, value.clone())
    try:
        yield
    finally:
        for norm, name, value in kept:
            setattr(norm, name, value)
