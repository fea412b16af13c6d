"""Stopwatches and counters on a real GPU."""

from collections.abc import Callable
from statistics import median

import pytest
import torch

from vlp_fast.benchmarks import timing
from vlp_fast.benchmarks.counters import CompilationCounter, count_synchronisations

triton = pytest.importorskip("triton")
tl = triton.language

pytestmark = pytest.mark.gpu

CYCLES = 2_000_000  # about a millisecond


@triton.jit
def fill(out_ptr, VALUE: tl.constexpr):  # type: ignore[no-untyped-def]
    tl.store(out_ptr, VALUE)


def seconds(stopwatch: Callable[..., timing.Stopwatch], run: timing.Run) -> float:
    timed = stopwatch(run)
    return median([timed() for _ in range(7)][2:])


def test_events_tell_the_time_of_the_device() -> None:
    once = seconds(timing.cold_stopwatch, lambda: torch.cuda._sleep(CYCLES))
    four_times = seconds(timing.cold_stopwatch, lambda: torch.cuda._sleep(4 * CYCLES))
    assert 1e-4 < once < 1e-2
    assert 3 < four_times / once < 5


def test_the_host_does_not_wait_for_the_device() -> None:
    def sleep() -> None:
        torch.cuda._sleep(20 * CYCLES)

    returned: list[float] = []
    wall = seconds(lambda run: timing.host_stopwatch(run, returned), sleep)
    assert median(returned) < wall / 4
    assert wall == pytest.approx(seconds(timing.cold_stopwatch, sleep), rel=0.3)


def test_the_flush_overwrites_more_than_the_cache() -> None:
    assert timing._flush_buffer().nbytes >= 4 * torch.cuda.get_device_properties(0).L2_cache_size


def test_only_what_waits_counts_as_a_wait() -> None:
    x = torch.ones(10, device="cuda")
    assert count_synchronisations(lambda: x.sum()) == 0
    assert count_synchronisations(lambda: x.sum().item()) == 1
    assert count_synchronisations(lambda: (x.sum().item(), x.cpu())) == 2


def test_every_specialisation_of_a_kernel_is_counted() -> None:
    out, counter = torch.zeros(1, device="cuda"), CompilationCounter()
    for value in (1, 1, 2):
        counter.watch(lambda value=value: fill[(1,)](out, VALUE=value))()
        assert int(out) == value
    assert counter.count == 2
