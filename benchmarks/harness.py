"""The measurement of a case: providers agree first, then their calls are counted and timed.

Once a provider is warm, one run more tells what memory it takes. A provider of another package that
fails, or disagrees with the truth, is not timed and says why; ours must run. If ours disagrees, the
case ends before anything is timed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, median
from typing import Any

import torch

from .case import OURS, Case, Setting
from .counters import CompilationCounter, OtherLoad, count_synchronisations, extra_memory
from .timing import (
    QUICK,
    Effort,
    Run,
    Stopwatch,
    cold_stopwatch,
    host_stopwatch,
    only_new_garbage,
    take_turns,
    wait_for_device,
)

WARM_UP_RUNS = 2
SLOW = 1.0
"""Seconds of a first run that needs no other to be warm."""
LEFT_OUT, FAILED, DISAGREES = "left out", "failed", "disagrees"
"""Why a provider was not timed."""


class DisagreementError(AssertionError):
    """A solution is not a solution: whose, how far from the truth, what is allowed."""


@dataclass(kw_only=True)
class Result:
    """A provider on a case, measured or not; seconds and bytes are of one call of the operator."""

    operator: str
    case: str
    provider: str
    backend: str
    direction: str
    dtype: str
    arithmetic: str
    verdict: str = ""
    """`LEFT_OUT`, `FAILED` or `DISAGREES`, in words the `problem`; empty if it was measured."""
    problem: str = ""
    error: float | None = None
    wrong: float | None = None
    first: float | None = None
    """Seconds in the first run, with everything that it compiles and loads."""
    compilations: int = 0
    """Over all runs, the first one included."""
    synchronisations: float | None = None
    extra_bytes: int | None = None
    """Of a run, at its peak, beyond what was there before."""
    num_bytes: int | None = None
    flops: int | None = None
    others_cpu: float | None = None
    """Share of the CPUs that other processes took while the case was timed."""
    host: float | None = None
    """Median until the call returns."""
    wall: float | None = None
    """Median until the device is idle again."""
    cache: str = ""
    times: list[float] = field(default_factory=list)
    """On a GPU by its events with a cold `cache`, else by the clock of the host."""

    @property
    def median(self) -> float:
        """Of `times`; NaN if it was not measured."""
        return median(self.times) if self.times else float("nan")


def measure(
    case: Case,
    where: Setting,
    effort: Effort | None = None,
    only: Collection[str] | None = None,
) -> list[Result]:
    """Check, count and time the providers of a case.

    Args:
        case: what to measure.
        where: on which device.
        effort: how often each is called; of its own for a quick run.
        only: the names of some providers; all by default.

    Raises:
        DisagreementError: if a solution of ours is further from the truth than the tolerance.
    """
    with only_new_garbage():
        return _measure(case, where, effort, only)


def _measure(
    case: Case, where: Setting, effort: Effort | None, only: Collection[str] | None
) -> list[Result]:
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    problems = [draw() for draw in case.draws]
    contest = [_Attempt(case, x, problems) for x in case.providers if only is None or x in only]
    for stage in (_Attempt.run_first, _Attempt.count_synchronisations, _Attempt.warm_up):
        for attempt in _able(contest):
            with attempt.told():
                stage(attempt, where)
    able, load = _able(contest), OtherLoad()
    _time(able, where, effort or (QUICK if where.is_quick else Effort()))
    others = load.share()
    for attempt in able:
        attempt.result.compilations, attempt.result.others_cpu = attempt.counter.count, others
    return [attempt.result for attempt in contest]


class _Attempt:
    """A provider while it is measured."""

    def __init__(self, case: Case, name: str, problems: Sequence[Any]) -> None:
        self.case, self.problems, self.calls = case, problems, len(problems)
        self.provider, self.counter = case.providers[name], CompilationCounter()
        self.run: Run = lambda: None
        self.result = Result(
            operator=case.operator,
            case=case.name,
            provider=name,
            backend=self.provider.backend,
            direction=case.direction,
            dtype=_named(case.dtype),
            arithmetic=_named(case.arithmetic or case.dtype),
            verdict=LEFT_OUT if self.provider.run is None else "",
            problem=self.provider.absence,
        )

    @contextmanager
    def told(self) -> Iterator[None]:
        """What a peer raises becomes its problem; what ours raises is raised."""
        try:
            yield
        except Exception as error:
            if self.result.provider.split()[0] == OURS:
                raise
            if isinstance(error, DisagreementError):
                self.result.verdict, self.result.problem = DISAGREES, str(error)
            else:
                line = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
                self.result.verdict, self.result.problem = FAILED, f"failed: {line}"

    def run_first(self, _: Setting) -> None:
        """Run for the first time and compare with the truth."""
        result, case, provider = self.result, self.case, self.provider
        assert provider.run is not None
        runs = [partial(provider.run, provider.prepare(problem)) for problem in self.problems]
        self.run = runs[0] if self.calls == 1 else lambda: [run() for run in runs]
        start = time.perf_counter()
        found = self.counter.watch(self.run)()
        wait_for_device()
        result.first = (time.perf_counter() - start) / self.calls
        solutions = [found] if self.calls == 1 else found
        pairs = [(p, provider.read(p, x)) for p, x in zip(self.problems, solutions, strict=True)]
        errors = [case.error(*pair) for pair in pairs]
        result.error = next((error for error in errors if error != error), max(errors))
        tolerance = case.tolerance if provider.tolerance is None else provider.tolerance
        if not result.error <= tolerance:  # NaN is no agreement
            who = f"{case.operator} {case.name}: {result.provider}"
            far = f"{result.error:.3g} from the truth, allowed {tolerance:.3g}"
            raise DisagreementError(f"{who} disagrees: {far}")
        result.wrong = mean(case.wrong(*pair) for pair in pairs) if case.wrong else None
        for name in ("num_bytes", "flops"):
            if count := getattr(case, name):
                setattr(result, name, sum(map(count, self.problems)) // self.calls)

    def count_synchronisations(self, where: Setting) -> None:
        """Of one run on a GPU."""
        if where.device == "cuda":
            waits = self.counter.watch(partial(count_synchronisations, self.run))()
            self.result.synchronisations = waits / self.calls

    def warm_up(self, where: Setting) -> None:
        """Run until all is compiled and loaded, and once more for the memory."""
        watched = self.counter.watch(self.run)
        for _ in range(WARM_UP_RUNS if (self.result.first or 0) * self.calls < SLOW else 0):
            watched()
        self.result.extra_bytes = extra_memory(watched, where.device)


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _able(contest: Sequence[_Attempt]) -> list[_Attempt]:
    return [attempt for attempt in contest if not attempt.result.verdict]


def _time(able: Sequence[_Attempt], where: Setting, effort: Effort) -> None:
    """Fill in the times of all, in turns."""
    returned: dict[_Attempt, list[float]] = {attempt: [] for attempt in able}
    by_host = {attempt: host_stopwatch(attempt.run, returned[attempt]) for attempt in able}
    for attempt, walls in _turns(by_host, effort):
        attempt.result.times = [seconds / attempt.calls for seconds in returned[attempt]]
        attempt.result.host, attempt.result.wall = attempt.result.median, median(walls)
    if where.device == "cuda":
        by_events = {attempt: cold_stopwatch(attempt.run) for attempt in able}
        for attempt, cold in _turns(by_events, effort):
            attempt.result.cache, attempt.result.times = "cold", cold


def _turns(
    stopwatches: Mapping[_Attempt, Stopwatch], effort: Effort
) -> Iterator[tuple[_Attempt, list[float]]]:
    """Seconds of one call of the operator."""
    watched = {attempt: attempt.counter.watch(timed) for attempt, timed in stopwatches.items()}
    for attempt, times in take_turns(watched, effort).items():
        yield attempt, [seconds / attempt.calls for seconds in times]
