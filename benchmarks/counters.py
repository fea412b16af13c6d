"""What a call costs besides time: compilations, waits for the device, memory; and other load."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
RESET_PEAK = "5"
STATISTICS = Path("/proc/stat")
IDLE = (3, 4)  # of its fields: idle, and waiting for a disk
FIELDS = 8  # the ninth and tenth, guests, are in the first two already
SESSION, TIMES = 3, slice(11, 15)
"""Places in /proc/PID/stat behind the name of a process: its session; user and system time, of
itself and of children."""


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


def extra_memory(run: Callable[[], Any], device: str) -> int | None:
    """Bytes that a call takes at its peak, its result included, beyond what was there before.

    On a GPU what PyTorch's allocator handed out: neither tensors of before nor scratch space that
    it kept from an earlier run count. On a CPU what the system gave to the process, in pages,
    native code included; `None` if it is not a Linux that lets a process reset its own peak. The
    call should have run before, or what it loads and compiles counts too.
    """
    if device != "cuda":
        gc.collect()
        before = reset_peak()
        run()
        return None if before is None else max(0, peak_of_process() - before)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


class OtherLoad:
    """The share of all CPUs that other processes take from when it is made.

    Args:
        sessions: of processes that are no others, besides this one.
    """

    def __init__(self, sessions: Collection[int] = ()) -> None:
        self._sessions = sessions
        self._before = _seconds(sessions)

    def share(self) -> float | None:
        """Between 0 and 1; `None` where the system does not tell."""
        after = _seconds(self._sessions)
        if self._before is None or after is None:
            return None
        busy, own, total = (now - then for now, then in zip(after, self._before, strict=True))
        return min(1.0, max(0.0, busy - own) / total) if total > 0 else None


def _graphs() -> int:
    """That Dynamo compiled so far; it is not imported for this."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo else 0


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


def reset_peak() -> int | None:
    """Bytes of the process now, from where its peak is counted anew; `None` where it cannot be."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else pages of earlier calls are used again unseen
        RESET.write_text(RESET_PEAK)
        return _pages("VmRSS")
    except (OSError, AttributeError):
        return None


def peak_of_process() -> int:
    """The most bytes that were in memory for the process, since its start or `reset_peak`."""
    return _pages("VmHWM")


def _pages(name: str) -> int:
    """A line of the process's status, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(), re.M)
    if found is None:
        raise OSError(f"{STATUS} has no {name}")
    return 1024 * int(found[1])


def _seconds(sessions: Collection[int]) -> tuple[float, float, float] | None:
    """Of CPU time so far: busy, of these our own, and in all."""
    try:
        first = STATISTICS.read_text().splitlines()[0]
    except OSError:
        return None
    ticks = [int(field) for field in first.split()[1 : 1 + FIELDS]]
    per_second = os.sysconf("SC_CLK_TCK")
    busy = sum(value for place, value in enumerate(ticks) if place not in IDLE)
    own = sum(os.times()[:4]) + (_ticks_of(sessions) / per_second if sessions else 0.0)
    return busy / per_second, own, sum(ticks) / per_second


def _ticks_of(sessions: Collection[int]) -> int:
    """CPU time of the processes of some sessions, and of their children that have ended."""
    found = 0
    for path in STATISTICS.parent.glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[SESSION]) in sessions:
            found += sum(map(int, fields[TIMES]))
    return found
