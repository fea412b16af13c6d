"""Which implementation of an operator runs where, and who serves float64."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from vlp_fast import native
from vlp_fast.ops.registry import Op

Implementation = Callable[..., Any]


def register(
    *operators: Op,
    reference: ModuleType,
    pytorch: ModuleType | None = None,
    cpp: ModuleType | None = None,
    cuda: ModuleType | None = None,
    triton: str | None = None,
) -> None:
    """Give operators every backend that is written and built.

    Each is the function of the operator's name in a module. A module that has none of that name
    leaves the operator to the definition: PyTorch's own kernels serve there.

    Args:
        operators: with one set of modules.
        reference: the definitions.
        pytorch: by fused kernels that PyTorch brings, the backend `torch`.
        cpp: of the CPU, through the extension.
        cuda: of GPUs, through the extension.
        triton: module of `vlp_fast.kernels`, imported at the first call.
    """
    for op in operators:
        definition: Implementation = getattr(reference, op.name)
        op.impl("reference")(definition)
        if pytorch is not None:
            op.impl("torch")(but_float64(getattr(pytorch, op.name), definition))
        if cpp is not None and native.extension() is not None:
            op.impl("cpp")(but_float64(getattr(cpp, op.name, definition), definition))
        if cuda is not None and native.has_cuda():
            op.impl("cuda")(but_float64(getattr(cuda, op.name, definition), definition))
        if triton is not None and find_spec("triton") is not None:
            op.impl("triton")(but_float64(_in_triton(triton, op.name), definition))


def but_float64(fast: Implementation, definition: Implementation) -> Implementation:
    """Leave float64, of a tensor or of the result, to the definition.

    Nobody trains in it, and no product of half precision proves anything about differences that
    float32 cannot hold. It serves those who check.
    """

    def run(*args: Any) -> Any:
        for arg in args:  # a loop: twice as fast as any() of a generator, at every call
            if (arg.dtype if isinstance(arg, Tensor) else arg) is torch.float64:
                return definition(*args)
        return fast(*args)

    return run


def _in_triton(module: str, name: str) -> Implementation:
    """Imported at the first call: that takes time, and decides whether programs are interpreted."""

    def run(*args: Any) -> Any:
        return getattr(import_module(f"vlp_fast.kernels.{module}"), name)(*args)

    return run
