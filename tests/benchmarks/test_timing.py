"""Turns on clocks that the test turns by hand."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from vlp_fast.benchmarks import timing
from vlp_fast.benchmarks.timing import Effort, host_stopwatch, take_turns


def clock_of(*readings: float) -> Callable[[], float]:
    """A clock that shows these readings one after the other."""
    left: Iterator[float] = iter(readings)
    return lambda: next(left)


@pytest.mark.parametrize(
    ("has_gpu", "readings", "walls"),
    [
        (False, (10.0, 10.5, 90.0, 92.0), (0.5, 2.0)),
        (True, (10.0, 10.5, 14.0, 90.0, 92.0, 93.0), (4.0, 3.0)),
    ],
)
def test_the_host_stopwatch_tells_the_return_and_the_end(
    has_gpu: bool,
    readings: tuple[float, ...],
    walls: tuple[float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("idle"))
    returned: list[float] = []
    stopwatch = host_stopwatch(lambda: done.append("run"), returned, clock_of(*readings))
    assert (stopwatch(), stopwatch()) == walls
    assert returned == [0.5, 2.0]
    assert done == (["idle", "run", "idle"] * 2 if has_gpu else ["run", "run"])


def test_providers_take_turns_until_each_has_enough() -> None:
    order: list[str] = []

    def stopwatch(name: str, seconds: float) -> Callable[[], float]:
        def timed() -> float:
            order.append(name)
            return seconds

        return timed

    effort = Effort(fewest=2, most_seconds=10.0, calls=4, least_seconds=0.0)
    times = take_turns({"quick": stopwatch("quick", 1.0), "slow": stopwatch("slow", 6.0)}, effort)
    assert order == ["quick", "slow", "quick", "slow", "quick", "quick"]
    assert times == {"quick": [1.0] * 4, "slow": [6.0] * 2}


@pytest.mark.parametrize(
    ("calls", "seconds", "is_enough"),
    [
        (50, 0.19, False),  # often enough, but not for long enough
        (50, 0.2, True),
        (49, 0.5, False),
        (1999, 0.1, False),
        (2000, 0.1, True),
        (4, 9.0, False),  # long enough, but not often enough
        (5, 1.0, True),
    ],
)
def test_effort(calls: int, seconds: float, is_enough: bool) -> None:
    assert Effort().is_enough(calls, seconds) is is_enough
    assert not Effort(fewest=calls + 1).is_enough(calls, seconds)


def test_garbage_is_not_collected_meanwhile_and_is_afterwards() -> None:
    import gc

    states: list[bool] = []

    def stopwatch() -> float:
        states.append(gc.isenabled())
        return 1.0

    with pytest.raises(ZeroDivisionError):
        take_turns({"broken": lambda: 1 / 0}, Effort())
    take_turns({"one": stopwatch}, Effort(fewest=1, most_seconds=0.0))
    assert states == [False]
    assert gc.isenabled()


def test_the_cache_is_flushed_before_the_first_event(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            done.append("record")

        def synchronize(self) -> None:
            done.append("synchronize")

        def elapsed_time(self, other: "Event") -> float:
            assert other is not self
            return 4.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    buffer = SimpleNamespace(zero_=lambda: done.append("flush"))
    monkeypatch.setattr(timing, "_flush_buffer", lambda: buffer)
    timed = timing.cold_stopwatch(lambda: done.append("run"))
    for _ in range(2):
        done.clear()
        assert timed() == 4e-3
        assert done == ["flush", "record", "run", "record", "synchronize"]
