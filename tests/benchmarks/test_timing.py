"""Statistics and turns on clocks that the test turns by hand."""

from collections.abc import Callable, Iterator

import pytest

from vlp_fast.benchmarks.timing import Effort, host_stopwatch, spread, take_turns


def clock_of(*readings: float) -> Callable[[], float]:
    """A clock that shows these readings one after the other."""
    left: Iterator[float] = iter(readings)
    return lambda: next(left)


def test_spread_is_median_and_fifths() -> None:
    found = spread([9.0, 1.0, 5.0, 3.0, 7.0, 100.0])
    assert (found.p20, found.median, found.p80) == (3.0, 6.0, 9.0)


def test_the_host_stopwatch_counts_the_call_and_nothing_else() -> None:
    called: list[str] = []
    stopwatch = host_stopwatch(lambda: called.append("x"), clock_of(10.0, 10.5, 90.0, 92.0))
    assert (stopwatch(), stopwatch()) == (0.5, 2.0)
    assert called == ["x", "x"]


def test_providers_take_turns_until_each_has_enough() -> None:
    order: list[str] = []

    def stopwatch(name: str, seconds: float) -> Callable[[], float]:
        def timed() -> float:
            order.append(name)
            return seconds

        return timed

    effort = Effort(calls=4, least_seconds=0.0, fewest=2, most_seconds=10.0)
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
        (2, 9.0, False),  # long enough, but not often enough
        (3, 2.0, True),
    ],
)
def test_effort(calls: int, seconds: float, is_enough: bool) -> None:
    assert Effort().is_enough(calls, seconds) is is_enough


def test_garbage_is_not_collected_meanwhile_and_is_afterwards() -> None:
    import gc

    states: list[bool] = []

    def stopwatch() -> float:
        states.append(gc.isenabled())
        return 1.0

    with pytest.raises(ZeroDivisionError):
        take_turns({"broken": lambda: 1 / 0}, Effort())
    take_turns({"one": stopwatch}, Effort(calls=1, least_seconds=0.0))
    assert states == [False]
    assert gc.isenabled()
