"""Sides of a whole step take turns in processes of their own, and what they tell becomes rows."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.benchmarks import counters, ledger, record
from vlp_fast.benchmarks.case import OURS
from vlp_fast.benchmarks.counters import OtherLoad
from vlp_fast.benchmarks.step import bench, figures, process, turns
from vlp_fast.benchmarks.step.cases import CASES, Plan
from vlp_fast.benchmarks.step.process import Side, SideError

Call = Callable[..., Any]
PLAN = Plan(
    case="e2e_vlp_r18_3",
    provider=OURS,
    device="cpu",
    data="nowhere",
    vocabulary=None,
    pictures=4,
    warm_up=2,
    steps=4,
    passes=2,
    at_once=2,
    is_quick=False,
)
SECONDS = {OURS: 1.0, "DETR + BERT": 3.0, "DETR + BERT, compiled": 2.0}


class Stand:
    """A side whose steps take as long as they should."""

    asked: list[tuple[str, dict[str, Any]]]
    fails: dict[str, int]
    session = 0

    def __init__(self, plan: Plan) -> None:
        self.plan, self.steps = plan, 0
        self.about = {"backend": "cpp"} if plan.provider == OURS else {"disagreement": 1e-6}

    def __enter__(self) -> "Stand":
        return self

    def __exit__(self, *_: object) -> None:
        self.asked.append((self.plan.provider, {"closed": True}))

    def ask(self, **what: Any) -> dict[str, Any]:
        name = self.plan.provider
        self.asked.append((name, what))
        count = what.get("steps", 0)
        self.steps += count
        if self.steps > self.fails.get(name, 99):
            raise SideError(f"{name}: broken on purpose")
        if count:
            slower = 1 + (self.steps > 6)  # in the second pass
            seconds = count * SECONDS[name] * slower
            return {"seconds": seconds, "cpu": seconds / 2, "pairs": 4 * count, "losses": {}}
        return {"peak": 2**30, "synchronisations": None, "compilations": 0}


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> type[Stand]:
    Stand.asked, Stand.fails = [], {}
    monkeypatch.setattr(turns, "Side", Stand)
    return Stand


def test_sides_take_turns_that_turn_round(stand: type[Stand]) -> None:
    said: list[str] = []
    found = turns.measure(PLAN, [*SECONDS], say=said.append)
    names = [*SECONDS]
    assert [one.plan.provider for one in found] == names
    taken = [name for name, what in stand.asked if what.get("steps") == 2]
    assert taken == 2 * (names + names[::-1])
    warm = [(name, what["steps"]) for name, what in stand.asked if what.get("steps") == 1]
    assert warm == [(name, 1) for name in names for _ in range(2)]
    assert [what for name, what in stand.asked if name == OURS][-2:] == [
        {"end": True},
        {"closed": True},
    ]
    assert found[0].first == 1.0
    assert figures.rates(found[0]) == [4.0, 2.0]
    assert figures.rates(found[1]) == [4 / 3, 2 / 3]
    assert "vlp_fast: pass 2, 2 pairs a second" in said


def test_another_ones_failure_is_told_and_ours_ends_it(stand: type[Stand]) -> None:
    stand.fails = {"DETR + BERT": 3, "DETR + BERT, compiled": 0}
    found = turns.measure(PLAN, [*SECONDS], say=lambda _: None)
    assert [bool(one.problem) for one in found] == [False, True, True]
    assert found[1].problem == "failed: DETR + BERT: broken on purpose"
    assert figures.rates(found[0]) == [4.0, 2.0]
    rows = figures.rows(found, data="", date="2026-11-30")
    assert [row["note"] for row in rows] == ["", found[1].problem, found[2].problem]
    stand.fails = {OURS: 3}
    with pytest.raises(SideError, match="vlp_fast: broken on purpose"):
        turns.measure(PLAN, say=lambda _: None)


def test_rows_and_lines_say_what_was_measured(stand: type[Stand], tmp_path: Path) -> None:
    found = turns.measure(PLAN, [OURS, "DETR + BERT"], say=lambda _: None)
    rows = figures.rows(found, data="given", date="2026-11-30T00:00:00Z")
    ours, other = rows
    assert ours["case"] == other["case"] == "e2e_vlp_r18_3-B4-given"
    assert (ours["operator"], ours["provider"], ours["backend"]) == ("step", OURS, "cpp")
    assert (ours["pairs_per_s"], ours["pairs_per_s_std"]) == ("3.000", "1.414")
    assert (ours["median_us"], ours["cpu_us"]) == ("1500000", "750000")
    assert (other["median_us"], other["peak_mib"]) == ("4500000", "1024")
    assert (ours["max_error"], other["max_error"]) == ("", "1e-06")
    assert "torchvision" in ours["peers"]
    ledger.append(rows, tmp_path)
    (path,) = tmp_path.glob("*/step.csv")
    assert ledger.read(path) == rows
    assert figures.lines(found) == [
        "vlp_fast: 3 +- 1.4 pairs a second, 1024 MiB",
        "DETR + BERT: 1 +- 0.47 pairs a second, 1024 MiB; ours 3.00x as fast "
        "(3.00x by CPU time), 1.00x memory",
    ]


def test_a_cpu_and_a_quick_run_compile_nothing_that_is_not_asked_for(stand: type[Stand]) -> None:
    names = [*SECONDS]
    for plan, expected in (
        (PLAN, names[:2]),
        (replace(PLAN, device="cuda"), names),
        (replace(PLAN, device="cuda", is_quick=True), names[:2]),
    ):
        found = turns.measure(plan, say=lambda _: None)
        assert [one.plan.provider for one in found] == expected
    found = turns.measure(PLAN, [OURS, names[2]], say=lambda _: None)
    assert [one.plan.provider for one in found] == [OURS, names[2]]


def test_a_process_answers_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Timed:
        def __init__(self, plan: Plan) -> None:
            self.about = {"parameters": plan.pictures}

        def do(self, steps: int = 0) -> dict[str, int]:
            return {"found": 6 // steps}

    monkeypatch.setattr("vlp_fast.benchmarks.step.timed.TimedSide", Timed)
    answers = io.StringIO()
    process.serve(PLAN, io.StringIO('{"steps": 2}\n{"steps": 0}\n{"steps": 3}\n'), answers)
    found = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert found == [
        {"parameters": 4},
        {"found": 3},
        {"error": "ZeroDivisionError: integer division or modulo by zero"},
    ]


def test_a_process_that_cannot_begin_says_why() -> None:
    with pytest.raises(SideError, match=r"vlp_fast: InputError: nowhere: .*"):
        Side(PLAN)


def test_cpu_time_of_another_session_can_be_our_own() -> None:
    if not counters.STATISTICS.exists():
        pytest.skip("the system does not tell CPU time")
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    others = OtherLoad()
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes) as busy:
        own = OtherLoad([busy.pid])
        own._before = others._before
        busy.stdout.readline()  # type: ignore[union-attr]
        assert counters._ticks_of([busy.pid]) * 1.0 >= 0.2 * os.sysconf("SC_CLK_TCK")
        assert (others.share() or 0) > (own.share() or 0)
        busy.communicate(b"\n")
    assert counters._ticks_of([busy.pid]) == 0


def test_what_can_be_asked_for(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[Plan] = []

    def measure(plan: Plan, only: list[str], say: object) -> list[turns.Measured]:
        planned.append(plan)
        turn = {"seconds": 2.0, "cpu": 1.0, "pairs": 4, "losses": {}}
        counted = {"peak": 2**30, "synchronisations": None, "compilations": 0}
        one = turns.Measured(plan=plan, passes=[[turn]], first=1.0, counted=counted)
        return [one]

    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr(bench, "draw_data", lambda folder, pictures: None)
    monkeypatch.setattr(
        record, "environment", lambda device: {"device": "EPYC, 2 cores", "peers": ""}
    )
    asked = ("--step.pictures", "2", "--step.steps", "5", "--step.passes", "1")
    answer = call("bench", "step", "--device", "cpu", "--out", tmp_path, *asked)
    assert answer.code == 0, answer.err
    assert [plan.case for plan in planned] == [*CASES]
    assert {(plan.pictures, plan.steps, plan.passes) for plan in planned} == {(2, 5, 1)}
    assert answer.out.count(f"\n1 rows added to {tmp_path / 'cpu-2-cores' / 'step.csv'}\n") == 3
    planned.clear()
    words = ("--step.models", "e2e_vlp_r50_6", "--step.data-root", tmp_path)
    assert call("bench", "step", "--device", "cpu", "--quick", *words).code == 0
    (plan,) = planned
    assert (plan.data, plan.vocabulary, plan.is_quick) == (str(tmp_path), None, True)
    assert Plan(**json.loads(json.dumps(asdict(plan)))) == plan
    call("bench", "step", "--step.models", "soho").assert_refused("'soho'", *CASES)
    call("bench", "step", "--step.passes", "0").assert_refused("--step.passes 0")
    call("bench", "step", "--step.providers", "us").assert_refused("'us'", "DETR + BERT")
