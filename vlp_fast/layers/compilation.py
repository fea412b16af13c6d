"""Transformer layers as graphs of `torch.compile`, each layer by itself.

All layers of a kind share the graphs: one for what layers are given in a training step, with sizes
that vary, and one more for each way to call them (with or without a gradient of the input, causal
or not). Operators of this package stay single nodes, so a graph joins what lies between them.
Compiled is training alone, or inference alone: evaluation in a run computes as it does without, and
so does a step of which each operation is looked at.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from vlp_fast.layers.transformer import ResidualLayer

Forward = Callable[..., Any]


def compile_layers(
    model: nn.Module, backend: Forward | str = "inductor", *, training: bool = True
) -> None:
    """Compile the layers of a model where they train; names stay the same, values up to rounding.

    Compilers draw dropout by generators of their own, which begin where PyTorch's would.

    Args:
        model: whose layers are compiled when they are first called.
        backend: of `torch.compile`.
        training: False to compile them where they are asked: in eval mode, without gradients.
    """
    for module in model.modules():
        if isinstance(module, ResidualLayer):
            compiled = torch.compile(module.forward, dynamic=True, backend=backend)
            module.forward = _chosen(module, compiled, module.forward, training)


def _chosen(module: nn.Module, compiled: Forward, eager: Forward, training: bool) -> Forward:
    def run(*inputs: Any, **options: Any) -> Any:
        # Where somebody looks at each operation, Dynamo would never again compile the layer (2.11).
        is_plain = not is_in_torch_dispatch_mode()
        is_meant = module.training == torch.is_grad_enabled() == training
        is_compiled = is_meant and is_plain
        return (compiled if is_compiled else eager)(*inputs, **options)

    return run
