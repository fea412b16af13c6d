"""How many times Triton would compile each program for batches of many sizes; no GPU takes part.

Launches are recorded instead of run, and keyed as Triton keys what it has compiled. Writes one
line for each program: its name, its launches, its keys.
"""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import make_backend
from triton.runtime.jit import create_function_from_signature

from vlp_fast.kernels import (
    attention,
    attention_backward,
    dictionary,
    dictionary_statistics,
    dictionary_update,
    norm,
    norm_backward,
    positions,
)

MODULES = (
    attention,
    attention_backward,
    dictionary,
    dictionary_statistics,
    dictionary_update,
    norm,
    norm_backward,
    positions,
)
TARGET = make_backend(GPUTarget("cuda", 90, 32))
# One, multiples of 16 and others: what Triton tells apart in an integer.
SIZES = (1, 2, 16, 48, 256, 512, 513, 8192, *range(1000, 1092))

keys: dict[str, list[str]] = {}


def record(kernel: Any) -> None:
    """Make a program's launches add to `keys`."""
    bind = create_function_from_signature(kernel.signature, kernel.params, TARGET)

    def run(*args: object, grid: object, warmup: bool, **options: object) -> None:
        _, specialisation, options = bind(*args, debug=False, **options)
        keys.setdefault(kernel.__name__, []).append(f"{specialisation} {options}")

    kernel.run = run


def programs() -> Iterator[Any]:
    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, triton.runtime.JITFunction) and name.endswith("_kernel"):
                yield value


def run_block(rows: int) -> None:
    """A residual norm with dropout and its gradients, and a linear layer with positions."""
    x, stream = torch.zeros(rows, 48, dtype=torch.bfloat16), torch.zeros(rows, 48)
    weight, seed = torch.zeros(48), torch.arange(2)[rows % 2]
    _, *saved = norm.residual_norm(x, stream, weight, weight, 1e-5, 0.1, seed)
    saved.insert(1, weight)
    found = (torch.empty_like(tensor) for tensor in (x, stream, weight, weight))
    norm_backward.residual_norm_backward(stream, stream, *saved, 0.1, seed, *found)
    weight, table = (torch.zeros(n, 48, dtype=torch.bfloat16) for n in (96, rows % 50))
    indices = torch.zeros(rows, 2, dtype=torch.int32)
    positions.linear_with_positions(x, weight, weight[:, 0], table, indices)


def run_attention(rows: int) -> None:
    """Attention with dropout and its gradients: q, k and v of one projection, 1 to 7 sequences."""
    qkv, grads = (torch.zeros(rows, 3, 12, 64, dtype=torch.bfloat16) for _ in range(2))
    sequences = min(rows, 1 + rows % 7)
    order = torch.arange(sequences, dtype=torch.int32)
    bounds = torch.tensor([*range(sequences), rows], dtype=torch.int32)
    longest = rows - sequences + 1
    options = (longest, longest + rows % 3, False, 0.125, 0.1)
    places = (bounds, bounds, order, *options, torch.zeros(2, dtype=torch.int64)[rows % 2])
    out, lse = attention.attention(*qkv.unbind(1), *places)
    grad = torch.zeros_like(out)
    operands = (grad, *qkv.unbind(1), out, lse)
    attention_backward.attention_backward(*operands, *places, *grads.unbind(1))


def main() -> None:
    """Search, statistics and parts of a Transformer's block, of 100 sizes."""
    for kernel in programs():
        record(kernel)
    for module in MODULES:
        module.on_device_of = lambda *_: nullcontext()
    codes, centre = torch.randn(64, 48), torch.zeros(48)
    prepared = [torch.zeros(64, 48, dtype=torch.bfloat16), torch.zeros(4, 64), centre]
    for rows in SIZES:
        x, valid = torch.zeros(rows, 48, dtype=torch.bfloat16), torch.ones(rows).bool()
        for excluded in (-1, 0, 1):
            dictionary.search(x, codes, valid, excluded, *prepared)
        run_block(rows)
        run_attention(rows)
        indices = torch.zeros(rows, dtype=torch.int64)
        for deterministic in (True, False):
            dictionary_statistics.code_statistics(x, indices, 64, valid, True, deterministic)
    for name, found in keys.items():
        sys.stdout.write(f"{name} {len(found)} {len(set(found))}\n")


if __name__ == "__main__":
    main()
