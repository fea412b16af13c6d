"""Which implementation of the dictionary's operators runs where, and who serves float64."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from vlp_fast import native
from vlp_fast.ops import dictionary_device as device
from vlp_fast.ops import dictionary_host as host
from vlp_fast.ops.registry import Op
from vlp_fast.reference import dictionary as reference

Implementation = Callable[..., Any]

TRITON_MODULES = {
    "prepare_codes": "dictionary_update",
    "nearest_code": "dictionary",
    "gather_codes": "dictionary_gather",
    "code_statistics": "dictionary_statistics",
    "ema_update": "dictionary_update",
    "laplace_ema_update": "dictionary_update",
}


def register(op: Op) -> None:
    """Give an operator every backend that is built; PyTorch serves where none is written."""
    definition: Implementation = getattr(reference, op.name)
    op.impl("reference")(definition)
    if native.extension() is not None:
        op.impl("cpp")(but_float64(getattr(host, op.name, definition), definition))
    if native.has_cuda():
        op.impl("cuda")(but_float64(getattr(device, op.name, definition), definition))
    if find_spec("triton") is not None:
        op.impl("triton")(but_float64(_in_triton(op.name), definition))


def but_float64(fast: Implementation, definition: Implementation) -> Implementation:
    """Leave float64, of a tensor or of the result, to the definition.

    Nobody trains in it, and no product of half precision proves anything about differences that
    float32 cannot hold. It serves those who check.
    """

    def run(*args: Any) -> Any:
        dtypes = (arg.dtype if isinstance(arg, Tensor) else arg for arg in args)
        is_wide = any(dtype is torch.float64 for dtype in dtypes)
        return (definition if is_wide else fast)(*args)

    return run


def _in_triton(name: str) -> Implementation:
    """Imported at the first call: that takes time, and decides whether programs are interpreted."""

    def run(*args: Any) -> Any:
        module = import_module(f"vlp_fast.kernels.{TRITON_MODULES[name]}")
        return getattr(module, name)(*args)

    return run
