"""Who is timed: only what agrees; who is not is told with the reason."""

import math
from collections.abc import Callable

import pytest
import torch

from vlp_fast.benchmarks import harness
from vlp_fast.benchmarks.case import Case, Provider, Setting, ours
from vlp_fast.benchmarks.counters import CompilationCounter
from vlp_fast.benchmarks.harness import DisagreementError, measure
from vlp_fast.benchmarks.timing import Effort

CPU = Setting(device="cpu", is_quick=True)
EFFORT = Effort(calls=3, least_seconds=0.0)


class Counted:
    """A provider that answers a number and counts its calls."""

    def __init__(self, answer: float) -> None:
        self.answer, self.calls = answer, 0

    def __call__(self) -> float:
        self.calls += 1
        return self.answer


def case(calls: int = 1, absent: dict[str, str] | None = None, **runs: Callable[[], float]) -> Case:
    """Who tells 2 within 0.1?"""
    return Case(
        operator="telling",
        name="two",
        providers={name: Provider(run=run) for name, run in runs.items()},
        error=lambda answer: abs(answer - 2),
        tolerance=0.1,
        absent=absent or {},
        calls=calls,
    )


@pytest.mark.parametrize("answer", [2.2, math.nan, math.inf])
def test_disagreement_ends_the_case_before_anything_is_timed(answer: float) -> None:
    right, wrong = Counted(2.0), Counted(answer)
    with pytest.raises(DisagreementError, match=r"telling two: peer is .* from the truth"):
        measure(case(vlp_fast=right, peer=wrong), CPU, EFFORT)
    assert (right.calls, wrong.calls) == (1, 1)


def test_all_that_agree_are_timed() -> None:
    results = measure(case(vlp_fast=Counted(2.0), peer=Counted(2.05)), CPU, EFFORT)
    assert [result.provider for result in results] == ["vlp_fast", "peer"]
    assert [result.error for result in results] == pytest.approx([0.0, 0.05])
    for result in results:
        (timing,) = result.timings
        assert 0 < timing.device.p20 <= timing.device.median <= timing.device.p80
        assert result.first > 0
        assert result.synchronisations is None


def test_a_peer_that_fails_is_told_and_ours_must_not() -> None:
    def fails() -> float:
        raise RuntimeError("no kernel\nfor this device")

    results = measure(case(vlp_fast=Counted(2.0), peer=fails), CPU, EFFORT)
    assert results[1].problem == "failed: RuntimeError: no kernel"
    assert results[1].timings == []
    assert results[0].timings
    with pytest.raises(RuntimeError, match="no kernel"):
        measure(case(vlp_fast=fails, peer=Counted(2.0)), CPU, EFFORT)


def test_who_is_absent_is_told() -> None:
    results = measure(case(absent={"peer": "not installed"}, vlp_fast=Counted(2.0)), CPU, EFFORT)
    assert (results[1].provider, results[1].problem) == ("peer", "not installed")


def test_a_run_of_several_calls_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "host_stopwatch", lambda run: lambda: 6.0)
    (found,) = measure(case(calls=100, vlp_fast=Counted(2.0)), CPU, EFFORT)
    assert found.timings[0].device.median == pytest.approx(0.06)
    assert found.timings[0].host == pytest.approx(0.06)


def test_solutions_are_read_before_they_are_checked() -> None:
    provider = Provider(run=lambda: "2", read=float)
    told = Case(
        operator="telling",
        name="two",
        providers={"vlp_fast": provider},
        error=lambda answer: abs(answer - 2),
        tolerance=0.0,
    )
    assert measure(told, CPU, EFFORT)[0].error == 0


def test_our_backends_are_those_of_the_device() -> None:
    cost = torch.rand(1, 3, 4)
    from vlp_fast import ops

    found = ours(lambda: ops.linear_sum_assignment(cost)[1], ["linear_sum_assignment"], "cpu")
    assert [provider.backend for provider in found.values()] == ["cpp", "reference"]
    assert list(found) == ["vlp_fast", "vlp_fast reference"]
    assert torch.equal(found["vlp_fast"].run(), found["vlp_fast reference"].run())
    mixed = ours(lambda: None, ["nearest_code", "linear_sum_assignment"], "cpu")
    assert mixed["vlp_fast"].backend == "reference+cpp"


def test_compilations_are_counted() -> None:
    torch._dynamo.reset()
    doubled = torch.compile(lambda x: 2 * x, backend="eager", dynamic=False)
    counter = CompilationCounter()
    for length in (3, 3, 4):
        counter.watch(lambda length=length: doubled(torch.ones(length)))()
    assert counter.count == 2
