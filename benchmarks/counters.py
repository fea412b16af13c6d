"""What a call costs besides time: compilations, and waits for the device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch._dynamo.utils import counters as dynamo_counters

Result = TypeVar("Result")


class CompilationCounter:
    """Counts graphs that Dynamo compiles and specialisations that Triton compiles.

    `count` adds up over all calls of what `watch` returns.
    """

    def __init__(self) -> None:
        self.count = 0

    def watch(self, run: Callable[[], Result]) -> Callable[[], Result]:
        """The same call, watched."""

        def watched() -> Result:
            before = _graphs()
            with _triton_hook(self._on_compiled):
                result = run()
            self.count += _graphs() - before
            return result

        return watched

    def _on_compiled(self, **_: object) -> None:
        self.count += 1


def count_synchronisations(run: Callable[[], object]) -> int:
    """Waits for the device in one call, as `torch.cuda.set_sync_debug_mode` sees them.

    It sees those of PyTorch, not those inside of other packages' native code.
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def _graphs() -> int:
    return int(dynamo_counters["stats"]["unique_graphs"])


@contextmanager
def _triton_hook(on_compiled: Callable[..., None]) -> Iterator[None]:
    try:
        from triton import knobs
    except ImportError:
        yield
        return
    before = knobs.runtime.jit_post_compile_hook
    knobs.runtime.jit_post_compile_hook = on_compiled
    try:
        yield
    finally:
        knobs.runtime.jit_post_compile_hook = before
