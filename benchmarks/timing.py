"""How long a call takes: by the clock of the host, and by events of the device.

Providers take turns, call by call, so that a slow phase of the machine hits all of them. On a GPU
the device's time is taken between two events, once with its L2 cache overwritten before each call
(cold) and once right after an untimed call (hot). Either way a large buffer is written first: it
keeps the device busy for about 0.1 ms, so that launches are queued by the time they are due. What
the host spends on a call is measured apart, from an idle device until the call returns, and until
the device is idle again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Run = Callable[[], Any]
Stopwatch = Callable[[], float]
"""Makes one call and returns its seconds."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """When a provider has been called often enough."""

    calls: int = 50
    """At least so many, for at least `least_seconds`, but no more than `most_calls`..."""
    least_seconds: float = 0.2
    most_calls: int = 2000
    fewest: int = 3
    """...unless it is slow: then so many, once they took `most_seconds`."""
    most_seconds: float = 2.0

    def is_enough(self, calls: int, seconds: float) -> bool:
        """Whether so many calls that took so long together suffice."""
        if calls >= self.most_calls:
            return True
        if calls >= self.calls and seconds >= self.least_seconds:
            return True
        return calls >= self.fewest and seconds >= self.most_seconds


ON_GPU = Effort(most_seconds=1.0)
"""Time on a GPU is dear: peers that take long have few turns."""
QUICK = Effort(calls=3, least_seconds=0.0, fewest=1, most_seconds=0.2)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Seconds of a call; a fifth of the calls is faster than p20, and a fifth slower than p80."""

    median: float
    p20: float
    p80: float


def spread(times: Sequence[float]) -> Spread:
    """Median, 20th and 80th percentile."""
    p20, median, p80 = (float(value) for value in np.percentile(times, (20, 50, 80)))
    return Spread(median=median, p20=p20, p80=p80)


def take_turns(stopwatches: Mapping[str, Stopwatch], effort: Effort) -> dict[str, list[float]]:
    """Seconds of every call of each, called in turn until each has enough."""
    times: dict[str, list[float]] = {name: [] for name in stopwatches}
    spent = dict.fromkeys(stopwatches, 0.0)
    waiting = dict(stopwatches)
    with _no_garbage_collection():
        while waiting:
            for name, stopwatch in list(waiting.items()):
                times[name].append(stopwatch())
                spent[name] += times[name][-1]
                if effort.is_enough(len(times[name]), spent[name]):
                    del waiting[name]
    return times


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
        return _between_events(run)

    return timed


def hot_stopwatch(run: Run) -> Stopwatch:
    """By events, right after an untimed call."""
    buffer = _flush_buffer()

    def timed() -> float:
        buffer.zero_()
        run()
        return _between_events(run)

    return timed


def _between_events(run: Run) -> float:
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1e3


def _flush_buffer() -> torch.Tensor:
    """Several times larger than any L2 cache."""
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    return torch.empty(max(8 * l2, 2**29), dtype=torch.int8, device="cuda")


def wait_for_device() -> None:
    """Return once the GPU is idle, if there is one in use."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
