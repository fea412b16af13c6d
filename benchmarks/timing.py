"""How long a call takes: by the clock of the host, and by events of the device.

Providers take turns, call by call, so that a slow phase of the machine hits all of them. On a GPU
the device's time is taken between two events. A large buffer is written before each call: it
overwrites the L2 cache, and keeps the device busy for about 0.1 ms, so that launches are queued by
the time they are due. What the host spends on a call is measured apart, from an idle device until
the call returns, and until the device is idle again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Key = TypeVar("Key")
Run = Callable[[], Any]
Stopwatch = Callable[[], float]
"""Makes one call and returns its seconds."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """When a provider has been called often enough."""

    fewest: int = 5
    """Never fewer than so many; of one that is slow, so many if they took `most_seconds`."""
    most_seconds: float = 1.0
    calls: int = 50
    """Of others so many, for at least `least_seconds`, but no more than `most_calls`."""
    least_seconds: float = 0.2
    most_calls: int = 2000

    def is_enough(self, calls: int, seconds: float) -> bool:
        """Whether so many calls that took so long together suffice."""
        if calls < self.fewest:
            return False
        often_enough = calls >= self.calls and seconds >= self.least_seconds
        return often_enough or seconds >= self.most_seconds or calls >= self.most_calls


QUICK = Effort(calls=3, least_seconds=0.0, fewest=1, most_seconds=0.2)


def take_turns(stopwatches: Mapping[Key, Stopwatch], effort: Effort) -> dict[Key, list[float]]:
    """Seconds of every call of each, called in turn until each has enough."""
    times: dict[Key, list[float]] = {name: [] for name in stopwatches}
    spent = dict.fromkeys(stopwatches, 0.0)
    waiting = dict(stopwatches)
    gc.collect()
    gc.disable()
    try:
        while waiting:
            for name, stopwatch in list(waiting.items()):
                times[name].append(stopwatch())
                spent[name] += times[name][-1]
                if effort.is_enough(len(times[name]), spent[name]):
                    del waiting[name]
    finally:
        gc.enable()
    return times


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Collections look at what was made meanwhile; at all of a large process each takes 0.3 s."""
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()


def host_stopwatch(
    run: Run, returned: list[float], clock: Callable[[], float] = time.perf_counter
) -> Stopwatch:
    """By the host's clock, from an idle device until it is idle again.

    Args:
        run: the call.
        returned: gets the seconds until the call returned; on a CPU they are the same.
        clock: in seconds.
    """

    def timed() -> float:
        wait_for_device()
        start = clock()
        run()
        back = clock()
        returned.append(back - start)
        if not torch.cuda.is_initialized():
            return back - start
        wait_for_device()
        return clock() - start

    return timed


def cold_stopwatch(run: Run) -> Stopwatch:
    """By events, with the L2 cache overwritten."""
    buffer = _flush_buffer()

    def timed() -> float:
        buffer.zero_()
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop)) / 1e3

    return timed


def _flush_buffer() -> torch.Tensor:
    """Several times larger than any L2 cache."""
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    return torch.empty(max(8 * l2, 2**29), dtype=torch.int8, device="cuda")


def wait_for_device() -> None:
    """Return once the GPU is idle, if there is one in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
