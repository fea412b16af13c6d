"""What a call takes beyond what was there before it, at its peak.

On a GPU what PyTorch's allocator handed out: neither tensors of before nor scratch space that it
kept from an earlier run count. On a CPU what the system gave to the process, in pages, native code
included; it takes a Linux that lets a process reset its own peak.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
RESET_PEAK = "5"


def extra_memory(run: Callable[[], Any], device: str) -> int | None:
    """Bytes at the peak of a call, its result included; `None` where the system does not tell.

    Args:
        run: the call; it should have run before, or what it loads and compiles counts too.
        device: `cpu` or `cuda`.
    """
    return _on_gpu(run) if device == "cuda" else _on_cpu(run)


def _on_gpu(run: Callable[[], Any]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


def _on_cpu(run: Callable[[], Any]) -> int | None:
    gc.collect()
    before = _reset_peak()
    run()
    return None if before is None else max(0, _pages("VmHWM") - before)


def _reset_peak() -> int | None:
    """Bytes of the process now, from where its peak is counted anew."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else pages of earlier calls are used again unseen
        RESET.write_text(RESET_PEAK)
        return _pages("VmRSS")
    except (OSError, AttributeError):
        return None


def _pages(name: str) -> int:
    """A line of the process's status, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.M)
    if found is None:
        raise OSError(f"{STATUS} has no {name}")
    return 1024 * int(found[1])
