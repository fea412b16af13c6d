"""Where Triton programs may run: GPUs, or the CPU if they are interpreted."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

# Triton multiplies without tensor cores on Volta and Turing.
OLDEST = 80

# Programs of the interpreter run one after another; a few show whether work is shared out right.
_INTERPRETED_PROGRAMS = 3


@triton.jit
def _nothing() -> None:
    pass


# Decided by TRITON_INTERPRET when the programs are decorated: later changes of it do nothing.
IS_INTERPRETED = not isinstance(_nothing, triton.runtime.JITFunction)


def on_device_of(function: str, tensor: Tensor) -> AbstractContextManager[object]:
    """Make a tensor's GPU the current one, which is where Triton launches.

    Raises:
        ValueError: the GPU is older than Ampere; there is none, and programs are compiled.
    """
    if tensor.is_cuda:
        if architecture(tensor.device) < OLDEST:
            raise ValueError(
                f"{function}: received tensors on {tensor.device} of compute capability "
                f"{architecture(tensor.device) / 10} for Triton, expected {OLDEST / 10} or newer; "
                "there the backend is `cuda`"
            )
        return torch.cuda.device(tensor.device)
    if IS_INTERPRETED:
        return nullcontext()
    raise ValueError(
        f"{function}: received tensors on {tensor.device} for Triton, expected a CUDA device; "
        "move them, or set TRITON_INTERPRET=1 before Python starts to interpret on the CPU"
    )


def bound(count: int) -> object:
    """A number that a program's loops run up to.

    With NumPy 2.4 the interpreter of Triton 3.6 takes none but constants there (triton-lang/triton
    issue 9171). Compiled programs get a run-time number.
    """
    return tl.constexpr(count) if IS_INTERPRETED else count


def readable(tensor: Tensor) -> Tensor:
    """A tensor as programs read it, or write to it before `copy_back`: the same one if compiled.

    The interpreter of Triton 3.6 takes the bits of bfloat16 for integers in products, and cuts
    instead of rounding to it: there bfloat16 crosses as float32, which is exact.
    """
    return tensor.float() if IS_INTERPRETED and tensor.dtype == torch.bfloat16 else tensor


def copy_back(written: Tensor | None, tensor: Tensor | None) -> None:
    """Where programs wrote to a copy, because they cannot write to the tensor."""
    if written is not None and tensor is not None and written is not tensor:
        tensor.copy_(written)


def with_neighbouring_columns(rows: Tensor) -> Tensor:
    """Rows (..., D) as programs read them: columns that are not neighbours load one by one.

    The gradient of a sum is expanded, without a row of its own.
    """
    return rows if rows.stride(-1) == 1 else rows.contiguous()


def persistent_programs(device: torch.device) -> int:
    """Number of programs that share out work whose amount only the device knows."""
    if device.type != "cuda":
        return _INTERPRETED_PROGRAMS
    return torch.cuda.get_device_properties(device).multi_processor_count


@cache
def architecture(device: torch.device) -> int:
    """Compute capability as one number: 90 for Hopper; 0 for the interpreter."""
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor
