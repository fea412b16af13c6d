"""What goes wrong in a step without a mistake in the program, each with its remedy in one line."""

from __future__ import annotations

import torch

from vlp_fast.errors import InputError

NO_MEMORY = (MemoryError, torch.OutOfMemoryError)
NO_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory")
"""How PyTorch's CPU allocator and CUDA's libraries say so, in a RuntimeError."""
NO_COMPILER = {"BackendCompilerFailed", "TritonMissing", "GPUTooOldForTriton"}
"""Classes of torch._dynamo and torch._inductor, which nobody imports who does not compile."""
ONE_VALUE = "Expected more than 1 value per channel when training"
"""How PyTorch's batch norm says so, in a ValueError."""


def explained(error: BaseException, step: int) -> BaseException:
    """An error after `step` whole steps: an `InputError` if it has a remedy, else as it is."""
    text = str(error)
    if isinstance(error, NO_MEMORY) or (
        isinstance(error, RuntimeError) and any(words in text for words in NO_MEMORY_WORDS)
    ):
        return InputError(
            f"after step {step}: out of memory{_first_line(text)}; free some and give the same "
            "command again, or give another --run-dir with a lower --train.batch-size and a higher "
            "--train.shards, or smaller pictures by --data.shorter"
        )
    if isinstance(error, ValueError) and text.startswith(ONE_VALUE):
        return InputError(
            f"after step {step}: batch norm has one value a channel, of which there is no variance"
            f"{_first_line(text.removeprefix(ONE_VALUE).strip(', '))}; raise --train.batch-size or "
            "--data.shorter"
        )
    if NO_COMPILER & {kind.__name__ for kind in type(error).__mro__}:
        inner = getattr(error, "inner_exception", error)
        return InputError(
            f"after step {step}: a layer was not compiled: {type(inner).__name__}"
            f"{_first_line(str(inner))}; give the same command with --train.no-compile, or ask "
            "`vlp-fast doctor` for compilers"
        )
    return error


def _first_line(text: str) -> str:
    line = text.strip().split("\n", maxsplit=1)[0].split(". ", maxsplit=1)[0][:160]
    return f" ({line})" if line else ""
