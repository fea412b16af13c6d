"""Who is timed: only what agrees; who is not is told with the reason."""

import gc
import math
import weakref
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from vlp_fast.benchmarks import harness
from vlp_fast.benchmarks.case import Case, Provider, Setting
from vlp_fast.benchmarks.harness import DISAGREES, FAILED, LEFT_OUT, DisagreementError, measure
from vlp_fast.benchmarks.timing import Effort

CPU = Setting(device="cpu", is_quick=True)
EFFORT = Effort(fewest=3, calls=3, least_seconds=0.0)


class Counted:
    """A provider that answers a number and counts its calls."""

    def __init__(self, answer: float) -> None:
        self.answer, self.calls = answer, 0

    def __call__(self, _: object) -> float:
        self.calls += 1
        return self.answer


def case(calls: int = 1, **runs: Callable[[object], float] | Provider) -> Case:
    """Who tells 2 within 0.1?"""
    return Case(
        operator="telling",
        name="two",
        draws=[lambda: 2.0] * calls,
        providers={n: x if isinstance(x, Provider) else Provider(x) for n, x in runs.items()},
        error=lambda problem, answer: abs(answer - problem),
        tolerance=0.1,
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
    told = f"telling two: peer disagrees: {far} from the truth, allowed 0.1"
    assert (results[1].verdict, results[1].problem) == (DISAGREES, told)
    assert (results[1].times, wrong.calls) == ([], 1)
    assert [len(result.times) for result in results] == [3, 0, 3]
    assert [results[0].error, results[2].error] == pytest.approx([0.0, 0.05])


def test_a_peer_that_fails_is_told_whenever_and_ours_must_not() -> None:
    answers = iter((2.0, 2.0))

    def fails(_: object) -> float:
        raise RuntimeError("no kernel\nfor this device")

    runs = {"tired": lambda _: next(answers), "odd": lambda _: None, "no": fails}
    unmade = Provider(lambda x: x, prepare=fails)
    absent = Provider(absence="not installed: pip install it")
    found = measure(case(vlp_fast=Counted(2.0), **runs, unmade=unmade, it=absent), CPU, EFFORT)
    assert [result.verdict for result in found] == ["", *[FAILED] * 4, LEFT_OUT]
    assert found[1].problem == "failed: StopIteration"
    assert found[2].problem.startswith("failed: TypeError: unsupported operand")
    assert found[3].problem == found[4].problem == "failed: RuntimeError: no kernel"
    assert found[5].problem == "not installed: pip install it"
    with pytest.raises(RuntimeError, match="no kernel"):
        measure(case(vlp_fast=fails, peer=Counted(2.0)), CPU, EFFORT)


def test_garbage_of_a_case_goes_with_it_and_nothing_older_is_looked_at() -> None:
    class Loop:
        def __init__(self) -> None:
            self.itself = self

    frozen: list[int] = []
    made: list[weakref.ref[Loop]] = []

    def litters(_: object) -> float:
        frozen.append(gc.get_freeze_count())
        made.append(weakref.ref(Loop()))
        return 2.0

    before = gc.get_freeze_count()
    measure(case(vlp_fast=litters), CPU, EFFORT)
    assert min(frozen) > before + 1000
    assert gc.get_freeze_count() <= before
    assert not any(reference() for reference in made)


def test_only_those_that_are_asked_for_run() -> None:
    ours, peer = Counted(2.0), Counted(2.0)
    (found,) = measure(case(vlp_fast=ours, peer=peer), CPU, EFFORT, only=["peer"])
    assert (found.provider, ours.calls) == ("peer", 0)


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

    for name in ("host_stopwatch", "cold_stopwatch"):
        monkeypatch.setattr(harness, name, stopwatch)
    monkeypatch.setattr(harness, "count_synchronisations", lambda run: run() or 0)
    monkeypatch.setattr(harness, "extra_memory", lambda run, device: None)


@pytest.mark.usefixtures("told_by_the_answer")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_provider_has_the_time_of_its_own_calls(device: str) -> None:
    runs = {"vlp_fast": Counted(2.0), "peer": Counted(2.05), "other": Counted(1.95)}
    results = measure(case(**runs), Setting(device=device, is_quick=True), EFFORT)
    for result, expected in zip(results, (2.0, 2.05, 1.95), strict=True):
        wall, host = expected / 100, expected / 200
        assert (result.wall, result.host) == pytest.approx((wall, host))
        on_gpu = device == "cuda"
        assert result.median == pytest.approx(wall if on_gpu else host)
        assert result.cache == ("cold" if on_gpu else "")


def test_times_are_of_one_call_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter((10.0, 13.0))
    monkeypatch.setattr(harness, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    monkeypatch.setattr(harness, "count_synchronisations", lambda run: 12)
    monkeypatch.setattr(harness, "extra_memory", lambda run, device: None)
    monkeypatch.setattr(
        harness, "host_stopwatch", lambda run, returned: lambda: returned.append(6.0) or 7.0
    )
    monkeypatch.setattr(harness, "cold_stopwatch", lambda run: lambda: 8.0)
    told = case(calls=4, vlp_fast=Counted(2.0))
    (found,) = measure(told, Setting(device="cuda", is_quick=True), EFFORT)
    assert (found.first, found.synchronisations) == (0.75, 3.0)
    assert (found.host, found.wall, found.median) == (1.5, 1.75, 2.0)


@pytest.mark.parametrize(("first", "warm_up"), [(0.5, harness.WARM_UP_RUNS), (1.5, 0)])
def test_warm_up_unless_the_first_run_was_slow(
    first: float, warm_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter((0.0, first))
    monkeypatch.setattr(harness, "time", SimpleNamespace(perf_counter=lambda: next(readings)))
    before: list[int] = []
    provider = Counted(2.0)
    monkeypatch.setattr(harness, "_time", lambda *_: before.append(provider.calls))
    measure(case(vlp_fast=provider), CPU, EFFORT)
    assert before == [1 + warm_up + 1]  # the last one for its memory


def test_solutions_are_read_before_they_are_checked_by_their_own_tolerance() -> None:
    read = Provider(lambda _: "2.4", read=lambda problem, answer: float(answer), tolerance=0.5)
    results = measure(case(vlp_fast=Counted(2.0), peer=read), CPU, EFFORT)
    assert [round(result.error, 3) for result in results] == [0.0, 0.4]


def test_what_a_case_counts_is_the_mean_over_its_problems() -> None:
    sizes = iter((2, 4))
    counted = Case(
        operator="telling",
        name="sizes",
        draws=[lambda: next(sizes)] * 2,
        providers={"vlp_fast": Provider(lambda size: size)},
        error=lambda size, answer: abs(answer - size),
        wrong=lambda size, answer: size / 10,
        tolerance=0.0,
        num_bytes=lambda size: 8 * size,
    )
    (found,) = measure(counted, CPU, EFFORT)
    assert (found.num_bytes, found.flops, found.wrong) == (24, None, pytest.approx(0.3))
