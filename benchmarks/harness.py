"""The measurement of a case: providers agree first, then their calls are counted and timed.

Once a provider is warm, one run more tells what memory it takes.

A provider of another package that fails, or disagrees with the truth, is reported with the reason
and not timed; ours must run. If ours disagrees, the case ends before anything is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .case import Case, Provider, Setting
from .counters import CompilationCounter, count_synchronisations
from .load import OtherLoad
from .memory import extra_memory
from .result import Result, Timing
from .timing import (
    ON_GPU,
    QUICK,
    Effort,
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
LONG = 0.01
"""Seconds of a run beyond which it is not repeated with a hot cache."""


class DisagreementError(AssertionError):
    """A solution is not a solution: whose, how far from the truth, and what is allowed."""

    def __init__(self, who: str, error: float, tolerance: float) -> None:
        self.short = f"{error:.3g} from the truth, allowed {tolerance:.3g}"
        super().__init__(f"{who} disagrees: {self.short}")


def measure(case: Case, setting: Setting, effort: Effort | None = None) -> list[Result]:
    """Check, count and time every provider of a case.

    Raises:
        DisagreementError: if a solution of ours is further from the truth than the tolerance.
    """
    effort = effort or _effort(setting)
    torch._dynamo.reset()
    contest = [_first_run(case, name) for name in case.providers]
    for prepare in (_count_synchronisations, _warm_up):
        for attempt in _able(contest):
            with _told(attempt):
                prepare(attempt, setting)
    able = _able(contest)
    load = OtherLoad()
    _time(able, setting, effort)
    others = load.share()
    left_out = [Result(case=case, provider=name, problem=why) for name, why in case.absent.items()]
    return [*(attempt.finished(others) for attempt in contest), *left_out]


@dataclass(kw_only=True)
class _Attempt:
    """A provider while it is measured."""

    result: Result
    run: Callable[[], Any]
    counter: CompilationCounter
    host: float = float("nan")
    wall: float = float("nan")
    """Seconds, medians of one call."""

    @property
    def name(self) -> str:
        return self.result.provider

    @property
    def calls(self) -> int:
        return self.result.case.calls

    def spread_of_call(self, runs: list[float]) -> Spread:
        """Of one call of the operator, from seconds of whole runs."""
        return spread([seconds / self.calls for seconds in runs])

    def add(self, cache: str, device: Spread) -> None:
        timing = Timing(cache=cache, device=device, host=self.host, wall=self.wall)
        self.result.timings.append(timing)

    def finished(self, others_cpu: float | None) -> Result:
        self.result.compilations = self.counter.count
        self.result.others_cpu = others_cpu
        return self.result


def _first_run(case: Case, name: str) -> _Attempt:
    """Run for the first time and compare with the truth."""
    provider, counter = case.providers[name], CompilationCounter()
    attempt = _Attempt(result=Result(case=case, provider=name), run=provider.run, counter=counter)
    with _told(attempt):
        start = time.perf_counter()
        solution = counter.watch(provider.run)()
        wait_for_device()
        attempt.result.first = (time.perf_counter() - start) / case.calls
        solution = provider.read(solution)
        attempt.result.error = _checked(case, name, provider, solution)
        attempt.result.wrong = case.wrong(solution) if case.wrong else None
    return attempt


@contextmanager
def _told(attempt: _Attempt) -> Iterator[None]:
    """What a peer raises becomes its problem; what ours raises is raised."""
    try:
        yield
    except Exception as error:
        if attempt.result.is_ours:
            raise
        if isinstance(error, DisagreementError):
            attempt.result.problem = f"disagrees: {error.short}"
        else:
            attempt.result.problem = f"failed: {first_line(error)}"


def _able(contest: list[_Attempt]) -> list[_Attempt]:
    return [attempt for attempt in contest if not attempt.result.problem]


def _count_synchronisations(attempt: _Attempt, setting: Setting) -> None:
    if setting.device == "cuda":
        waits = attempt.counter.watch(partial(count_synchronisations, attempt.run))()
        attempt.result.synchronisations = waits / attempt.calls


def _warm_up(attempt: _Attempt, setting: Setting) -> None:
    """Run until all is compiled and loaded, and once more for the memory."""
    if attempt.result.first * attempt.calls < SLOW:  # others are warm after the first run
        for _ in range(WARM_UP_RUNS):
            attempt.counter.watch(attempt.run)()
    watched = attempt.counter.watch(attempt.run)
    attempt.result.extra_bytes = extra_memory(watched, setting.device)


def _checked(case: Case, name: str, provider: Provider, solution: Any) -> float:
    error = case.error(solution)
    tolerance = case.tolerance if provider.tolerance is None else provider.tolerance
    if not error <= tolerance:  # NaN is no agreement
        raise DisagreementError(f"{case.operator} {case.name}: {name}", error, tolerance)
    return error


def _effort(setting: Setting) -> Effort:
    if setting.is_quick:
        return QUICK
    return ON_GPU if setting.device == "cuda" else Effort()


def _time(able: list[_Attempt], setting: Setting, effort: Effort) -> None:
    """Fill in the timings of all, in turns."""
    returned: dict[str, list[float]] = {attempt.name: [] for attempt in able}
    stopwatches = {a.name: host_stopwatch(a.run, returned[a.name]) for a in able}
    walls = _spreads(able, stopwatches, effort)
    hosts = [attempt.spread_of_call(returned[attempt.name]) for attempt in able]
    for attempt, host, wall in zip(able, hosts, walls, strict=True):
        attempt.host, attempt.wall = host.median, wall.median
    if setting.device != "cuda":
        for attempt, host in zip(able, hosts, strict=True):
            attempt.add("", host)
        return
    short = [attempt for attempt in able if attempt.wall * attempt.calls <= LONG]
    for cache, stopwatch, timed in (("cold", cold_stopwatch, able), ("hot", hot_stopwatch, short)):
        stopwatches = {attempt.name: stopwatch(attempt.run) for attempt in timed}
        for attempt, device in zip(timed, _spreads(timed, stopwatches, effort), strict=True):
            attempt.add(cache, device)


def _spreads(
    timed: list[_Attempt], stopwatches: Mapping[str, Stopwatch], effort: Effort
) -> list[Spread]:
    """How long one call of the operator takes, by these stopwatches."""
    watched = {attempt.name: attempt.counter.watch(stopwatches[attempt.name]) for attempt in timed}
    times = take_turns(watched, effort)
    return [attempt.spread_of_call(times[attempt.name]) for attempt in timed]


def first_line(error: Exception) -> str:
    """The class of an error and the first line of what it says."""
    message = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
