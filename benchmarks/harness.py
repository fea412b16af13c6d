"""The measurement of a case: providers agree first, then their calls are counted and timed.

A provider of another package that fails is reported with its error; ours must run. Whoever
disagrees with the truth ends the case before anything is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from .case import OURS, Case, Provider, Setting
from .counters import CompilationCounter, count_synchronisations
from .load import OtherLoad
from .timing import (
    QUICK,
    Effort,
    Run,
    Spread,
    Stopwatch,
    cold_stopwatch,
    host_stopwatch,
    hot_stopwatch,
    spread,
    take_turns,
    wait_for_device,
)

WARM_UP_RUNS = 2
SLOW = 1.0
"""Seconds of a first run."""


class DisagreementError(AssertionError):
    """A provider's solution is not a solution."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds for one call of the operator."""

    cache: str
    """`cold` or `hot` for the device's time by events; empty for the host's clock on a CPU."""
    device: Spread
    host: float
    """Median until the call returns."""


@dataclass(kw_only=True)
class Result:
    """What is known of one provider on one case."""

    case: Case
    provider: str
    problem: str = ""
    """Why it was not measured; empty if it was."""
    error: float = float("nan")
    first: float = float("nan")
    """Seconds for a call in the first run, with everything that it compiles and loads."""
    compilations: int = 0
    """Over all runs, the first one included."""
    synchronisations: float | None = None
    """Waits for the device in one call; `None` on a CPU."""
    timings: list[Timing] = field(default_factory=list)
    others_cpu: float | None = None
    """Share of the CPUs that other processes took while the case was timed."""

    @property
    def backend(self) -> str:
        """Which of our backends ran; empty for others."""
        provider = self.case.providers.get(self.provider)
        return provider.backend if provider else ""

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our providers."""
        return self.provider.split()[0] == OURS


def measure(case: Case, setting: Setting, effort: Effort | None = None) -> list[Result]:
    """Check, count and time every provider of a case.

    Raises:
        DisagreementError: if a provider's solution is further from the truth than the tolerance.
    """
    effort = effort or (QUICK if setting.is_quick else Effort())
    torch._dynamo.reset()
    contest = [_first_run(case, name) for name in case.providers]
    able = [attempt for attempt in contest if not attempt.result.problem]
    if setting.device == "cuda":
        for attempt in able:
            waits = attempt.counter.watch(partial(count_synchronisations, attempt.run))()
            attempt.result.synchronisations = waits / case.calls
    for attempt in able:
        if attempt.result.first * case.calls < SLOW:  # others are warm after the first run
            for _ in range(WARM_UP_RUNS):
                attempt.counter.watch(attempt.run)()
    load = OtherLoad()
    _time(able, setting, effort)
    others = load.share()
    left_out = [Result(case=case, provider=name, problem=why) for name, why in case.absent.items()]
    return [*(attempt.finished(others) for attempt in contest), *left_out]


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """A provider while it is measured."""

    result: Result
    run: Callable[[], Any]
    counter: CompilationCounter

    def finished(self, others_cpu: float | None) -> Result:
        self.result.compilations = self.counter.count
        self.result.others_cpu = others_cpu
        return self.result


def _first_run(case: Case, name: str) -> _Attempt:
    """Run for the first time and compare with the truth."""
    provider, counter = case.providers[name], CompilationCounter()
    attempt = _Attempt(result=Result(case=case, provider=name), run=provider.run, counter=counter)
    start = time.perf_counter()
    try:
        solution = counter.watch(provider.run)()
        wait_for_device()
    except Exception as error:
        if attempt.result.is_ours:
            raise
        attempt.result.problem = f"failed: {_first_line(error)}"
        return attempt
    attempt.result.first = (time.perf_counter() - start) / case.calls
    attempt.result.error = _checked(case, name, provider, solution)
    return attempt


def _checked(case: Case, name: str, provider: Provider, solution: Any) -> float:
    error = case.error(provider.read(solution))
    if not error <= case.tolerance:  # NaN is no agreement
        raise DisagreementError(
            f"{case.operator} {case.name}: {name} is {error:.3g} from the truth, expected at most "
            f"{case.tolerance:.3g}"
        )
    return error


def _time(able: list[_Attempt], setting: Setting, effort: Effort) -> None:
    """Fill in the timings of all, in turns."""
    host = _spreads(able, host_stopwatch, effort)
    if setting.device != "cuda":
        for attempt, measured in zip(able, host, strict=True):
            attempt.result.timings = [Timing(cache="", device=measured, host=measured.median)]
        return
    for cache, stopwatch in (("cold", cold_stopwatch), ("hot", hot_stopwatch)):
        on_device = _spreads(able, stopwatch, effort)
        for attempt, calls, measured in zip(able, host, on_device, strict=True):
            timing = Timing(cache=cache, device=measured, host=calls.median)
            attempt.result.timings.append(timing)


def _spreads(
    able: list[_Attempt], stopwatch: Callable[[Run], Stopwatch], effort: Effort
) -> list[Spread]:
    """How long one call of the operator takes, by this stopwatch."""
    stopwatches = {
        attempt.result.provider: attempt.counter.watch(stopwatch(attempt.run)) for attempt in able
    }
    times = take_turns(stopwatches, effort)
    return [
        spread([seconds / attempt.result.case.calls for seconds in times[attempt.result.provider]])
        for attempt in able
    ]


def _first_line(error: Exception) -> str:
    message = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
