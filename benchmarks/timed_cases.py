"""The benchmarks that `pytest --benchmark` collects: one for each provider of each case.

The providers of a case are drawn, checked and timed together, in turns. What each call took is then
told to pytest-benchmark by the timer of its marker. Imports are absolute: pytest may give this file
another name.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import pytest

from vlp_fast.benchmarks import OPERATORS
from vlp_fast.benchmarks import case as the_case
from vlp_fast.benchmarks.harness import DISAGREES, LEFT_OUT, DisagreementError, Result, measure


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A benchmark for each provider, case after case."""
    where = _plugin(metafunc.config).setting
    found = [
        pytest.param(case, name, id=f"{case.operator}-{case.name}-{name}")
        for operator in OPERATORS
        for case in the_case.cases(operator, where)
        for name in case.providers
    ]
    metafunc.parametrize(("case", "provider"), found)


@pytest.fixture
def result(request: pytest.FixtureRequest, case: the_case.Case, provider: str) -> Result:
    """Of one provider that was timed; the benchmark's timer will tell its times."""
    plugin = _plugin(request.config)
    if plugin.case is not case:
        plugin.case, plugin.results = case, _side_by_side(request, case)
        plugin.left_out += [one for one in plugin.results.values() if one.verdict]
    found: Result = plugin.results.get(provider) or pytest.fail(plugin.wrong, pytrace=False)
    if found.verdict == LEFT_OUT:
        pytest.skip(f"{provider}: {found.problem}")
    if found.verdict == DISAGREES:
        pytest.fail(found.problem, pytrace=False)
    if found.verdict:
        pytest.xfail(f"{provider}: {found.problem}")
    group = f"{found.operator} {found.case}"
    request.node.add_marker(pytest.mark.benchmark(group=group, timer=replay(found.times)))
    return found


def test_provider(result: Result, benchmark: Any) -> None:
    """Hand over what was measured."""
    benchmark.extra_info.update(asdict(result))
    del benchmark.extra_info["times"]  # they are the benchmark's own
    benchmark.pedantic(lambda: None, rounds=len(result.times))


def replay(times: Sequence[float]) -> Callable[[], float]:
    """A timer that shows 0 and the seconds of a call, for one call after the other."""
    readings = chain.from_iterable((0.0, seconds) for seconds in times)

    def in_turns() -> float:
        return next(readings)

    return in_turns


def _side_by_side(request: pytest.FixtureRequest, case: the_case.Case) -> dict[str, Result]:
    """The results of those providers that -k left; none if ours is wrong."""
    plugin: Any = _plugin(request.config)
    params = [getattr(item, "callspec").params for item in request.session.items]  # noqa: B009
    only = [one["provider"] for one in params if one["case"] is case]
    try:
        found = measure(case, plugin.setting, plugin.effort, only)
    except Exception as error:  # told to each of them, and the other cases go on
        is_told = isinstance(error, DisagreementError)
        plugin.wrong = str(error) if is_told else traceback.format_exc()
        return {}
    return {one.provider: one for one in found}


def _plugin(config: pytest.Config) -> Any:
    return config.pluginmanager.get_plugin("vlp_fast_benchmarks")
