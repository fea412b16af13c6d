"""Who is timed: only what agrees; who is not is told with the reason."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from vlp_fast import ops
from vlp_fast.benchmarks import harness, record
from vlp_fast.benchmarks.case import Case, Provider, Setting, ours
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
def test_if_ours_disagrees_the_case_ends_before_anything_is_timed(answer: float) -> None:
    right, wrong = Counted(2.0), Counted(answer)
    with pytest.raises(DisagreementError, match=r"^telling two: vlp_fast b disagrees: .* from"):
        measure(case(**{"vlp_fast": right, "peer": right, "vlp_fast b": wrong}), CPU, EFFORT)
    assert (right.calls, wrong.calls) == (2, 1)


@pytest.mark.parametrize(("answer", "far"), [(2.92, "0.92"), (math.nan, "nan"), (math.inf, "inf")])
def test_a_peer_that_disagrees_is_told_and_not_timed(answer: float, far: str) -> None:
    wrong = Counted(answer)
    results = measure(case(vlp_fast=Counted(2.0), peer=wrong, other=Counted(2.05)), CPU, EFFORT)
    assert results[1].problem == f"disagrees: {far} from the truth, allowed 0.1"
    assert (results[1].timings, wrong.calls) == ([], 1)
    assert results[0].timings
    assert results[2].timings
    told = record.rows(results, "cpu")[1]
    assert (told["provider"], told["median_us"], told["note"]) == ("peer", "", results[1].problem)


def test_a_peer_that_fails_later_or_answers_nonsense_is_told() -> None:
    answers = iter((2.0, 2.0))
    runs = {"tired": lambda: next(answers), "odd": lambda: None}
    results = measure(case(vlp_fast=Counted(2.0), **runs), CPU, EFFORT)
    assert results[1].problem == "failed: StopIteration"
    assert results[2].problem.startswith("failed: TypeError: unsupported operand")
    assert [bool(result.timings) for result in results] == [True, False, False]


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


@pytest.fixture
def told_by_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stopwatch tells the answer of what it runs, in hundredths of a second."""

    def stopwatch(run: Callable[[], float], returned: list[float] | None = None) -> object:
        def timed() -> float:
            seconds = run() / 100
            if returned is not None:
                returned.append(seconds / 2)
            return seconds

        return timed

    monkeypatch.setattr(harness, "LONG", 1.0)
    for name in ("host_stopwatch", "cold_stopwatch", "hot_stopwatch"):
        monkeypatch.setattr(harness, name, stopwatch)


@pytest.mark.usefixtures("told_by_the_answer")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_provider_has_the_time_of_its_own_calls(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "count_synchronisations", lambda run: run() or 0)
    monkeypatch.setattr(harness, "extra_memory", lambda run, device: None)
    runs = {"vlp_fast": Counted(2.0), "peer": Counted(2.05), "other": Counted(1.95)}
    results = measure(case(**runs), Setting(device=device, is_quick=True), EFFORT)
    for result, expected in zip(results, (2.0, 2.05, 1.95), strict=True):
        wall, host = expected / 100, expected / 200
        on_device = [host] if device == "cpu" else [wall, wall]
        assert [timing.device.median for timing in result.timings] == pytest.approx(on_device)
        for timing in result.timings:
            assert (timing.wall, timing.host) == pytest.approx((wall, host))


@pytest.mark.usefixtures("told_by_the_answer")
def test_what_takes_long_is_not_repeated_with_a_hot_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "count_synchronisations", lambda run: run() or 0)
    monkeypatch.setattr(harness, "extra_memory", lambda run, device: None)
    monkeypatch.setattr(harness, "LONG", 0.0202)
    told = case(vlp_fast=Counted(2.0), peer=Counted(2.05))
    results = measure(told, Setting(device="cuda", is_quick=True), EFFORT)
    caches = [[timing.cache for timing in result.timings] for result in results]
    assert caches == [["cold", "hot"], ["cold"]]


def test_waits_and_the_first_run_are_for_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "_time", lambda able, setting, effort: None)
    readings = iter((10.0, 13.0))
    monkeypatch.setattr(harness, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    monkeypatch.setattr(harness, "count_synchronisations", lambda run: 12)
    monkeypatch.setattr(harness, "extra_memory", lambda run, device: None)
    told = case(calls=4, vlp_fast=Counted(2.0))
    (found,) = measure(told, Setting(device="cuda", is_quick=True), EFFORT)
    assert (found.first, found.synchronisations) == (0.75, 3.0)


@pytest.mark.parametrize(("first", "warm_up"), [(0.5, harness.WARM_UP_RUNS), (1.5, 0)])
def test_warm_up_unless_the_first_run_was_slow(
    first: float, warm_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter((0.0, first))
    monkeypatch.setattr(harness, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    before: list[int] = []
    provider = Counted(2.0)
    monkeypatch.setattr(
        harness, "_time", lambda able, setting, effort: before.append(provider.calls)
    )
    measure(case(vlp_fast=provider), CPU, EFFORT)
    assert before == [1 + warm_up + 1]  # the last one for its memory


def test_a_run_of_several_calls_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        harness, "host_stopwatch", lambda run, returned: lambda: returned.append(6.0) or 7.0
    )
    (found,) = measure(case(calls=100, vlp_fast=Counted(2.0)), CPU, EFFORT)
    assert found.timings[0].device.median == pytest.approx(0.06)
    assert found.timings[0].host == pytest.approx(0.06)
    assert found.timings[0].wall == pytest.approx(0.07)


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


def test_a_peer_may_be_allowed_to_be_rougher() -> None:
    told = case(vlp_fast=Counted(2.0), peer=Counted(2.4))
    rough = Provider(run=told.providers["peer"].run, tolerance=0.5)
    told = replace(told, providers={**told.providers, "peer": rough})
    assert measure(told, CPU, EFFORT)[1].error == pytest.approx(0.4)
    strict = replace(rough, tolerance=0.0)
    results = measure(replace(told, providers={**told.providers, "peer": strict}), CPU, EFFORT)
    assert results[1].problem == "disagrees: 0.4 from the truth, allowed 0"


def test_the_share_of_wrong_parts_is_of_each_solution() -> None:
    told = case(vlp_fast=Counted(2.0), peer=Counted(2.05))
    assert [result.wrong for result in measure(told, CPU, EFFORT)] == [None, None]
    told = replace(told, wrong=lambda answer: float(answer != 2))
    assert [result.wrong for result in measure(told, CPU, EFFORT)] == [0.0, 1.0]


def test_memory_is_of_each_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "extra_memory", lambda run, device: (int(100 * run()), device)[0])
    results = measure(case(vlp_fast=Counted(2.0), peer=Counted(2.05)), CPU, EFFORT)
    assert [result.extra_bytes for result in results] == [200, 204]


def test_our_backends_are_those_of_the_device() -> None:
    cost = torch.rand(1, 3, 4)
    found = ours(lambda: ops.linear_sum_assignment(cost)[1], ["linear_sum_assignment"], "cpu")
    assert [provider.backend for provider in found.values()] == ["cpp", "reference"]
    assert list(found) == ["vlp_fast", "vlp_fast reference"]
    assert torch.equal(found["vlp_fast"].run(), found["vlp_fast reference"].run())
    mixed = ours(lambda: None, ["attention", "linear_sum_assignment"], "cpu")
    assert mixed["vlp_fast"].backend == "torch+cpp"


def test_on_a_gpu_the_reference_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    backends = {"cuda": None, "triton": None, "reference": None}
    monkeypatch.setattr(ops, "operators", lambda: {"match": SimpleNamespace(backends=backends)})
    monkeypatch.setattr(ops, "backend_for", lambda *_: ("cuda", "preferred"))
    assert list(ours(lambda: None, ["match"], "cuda")) == ["vlp_fast", "vlp_fast triton"]
