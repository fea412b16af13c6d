"""A pair of picture and text: stages make what they should, and what is said of their times."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import nms

from vlp_fast.benchmarks import ledger
from vlp_fast.benchmarks.harness import DisagreementError
from vlp_fast.benchmarks.latency import baseline, class_nms, ours, passes
from vlp_fast.benchmarks.latency.claims import claims
from vlp_fast.benchmarks.latency.passes import Lap, Timed, first_pass
from vlp_fast.benchmarks.latency.plan import SYSTEMS, TWO_STAGE, Plan, plans
from vlp_fast.benchmarks.latency.system import WHOLE, Agreement, Key, System
from vlp_fast.benchmarks.latency.two_stage import QUICK, TwoStage, TwoStageSizes, resnet_in_two

Call = Callable[..., Any]
SIZE = (96, 160)
UNEVEN = (90, 150)
"""No multiple of 16: the cells of the map reach beyond it."""


def plan_of(system: str, size: tuple[int, int] = SIZE) -> Plan:
    return Plan(system=system, size=size, device="cpu", is_quick=True)


@pytest.fixture(scope="module")
def detector() -> TwoStage:
    torch.manual_seed(0)
    return TwoStage(UNEVEN, QUICK).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def maps() -> Tensor:
    return torch.randn(1, 1024, 6, 10, generator=torch.Generator().manual_seed(1))


def test_the_published_network_computes_what_the_text_says() -> None:
    """1.76 TFLOP of res5 on 300 boxes of 14x14, 170 GFLOP in front of it, at 600x1000."""
    with torch.device("meta"):
        cnn, res5 = resnet_in_two(TwoStageSizes().blocks)
        pixels, pooled = torch.empty(1, 3, 600, 1000), torch.empty(300, 1024, 14, 14)
        found = []
        for part, given in ((cnn, pixels), (res5, pooled)):
            with FlopCounterMode(display=False) as counter:
                shape = part(given).shape
            found.append((tuple(shape), counter.get_total_flops()))
    assert found[0] == ((1, 1024, 38, 63), pytest.approx(170e9, rel=0.005))
    assert found[1] == ((300, 2048, 14, 14), pytest.approx(1.76e12, rel=0.005))
    dilations = [block.conv2.dilation for block in res5]
    assert dilations == [(2, 2)] * 3


def test_proposals_are_what_their_definition_says(detector: TwoStage, maps: Tensor) -> None:
    """Anchors every 16 pixels, the best by logit, clipped, no small ones, suppression at .7."""
    for moved in (0.0, 0.3):  # deltas of random weights are next to none
        nn.init.constant_(detector.rpn.head.deltas.bias, moved)
        found = detector.propose((maps, UNEVEN)).boxes
        torch.testing.assert_close(found, expected_proposals(detector, maps), atol=1e-3, rtol=0)
    nn.init.zeros_(detector.rpn.head.deltas.bias)


def expected_proposals(detector: TwoStage, maps: Tensor) -> Tensor:
    logits, deltas = (part[0][0] for part in detector.rpn.head([maps]))
    boxes, anchors = [], []
    for row in range(6):
        for column in range(10):
            for ratio in range(3):
                for scale in range(4):
                    number = 4 * ratio + scale
                    d = deltas[4 * number : 4 * number + 4, row, column].tolist()
                    tall = (0.5, 1.0, 2.0)[ratio] ** 0.5
                    side = 64 * 2**scale
                    h, w = 2 * round(side * tall / 2), 2 * round(side / tall / 2)
                    left, top = 16 * column - w / 2, 16 * row - h / 2
                    anchors.append([left, top, left + w, top + h])
                    x, y = 16 * column + d[0] * w, 16 * row + d[1] * h
                    w, h = w * torch.tensor(d[2]).exp(), h * torch.tensor(d[3]).exp()
                    corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
                    boxes.append([*map(float, corners), float(logits[number, row, column])])
    found = torch.tensor(boxes)
    head = detector.rpn.head
    two = head.scores(head.conv(maps).relu())[0]  # background of all anchors, then objects
    torch.testing.assert_close(logits, two[12:] - two[:12] + detector.objectness[0])
    drawn = detector.objects.objectness(torch.tensor(anchors)).view(6, 10, 3, 4)
    stored = detector.objectness[0].view(3, 4, 6, 10).permute(2, 3, 0, 1)
    torch.testing.assert_close(stored, drawn)
    best = found[found[:, 4].sort(descending=True, stable=True).indices[: QUICK.before]]
    corners = torch.stack([best[:, n].clamp(0, UNEVEN[1 - n % 2]) for n in range(4)], dim=1)
    sides = corners[:, 2:] - corners[:, :2]
    able = (sides >= 16).all(1)
    return corners[able][nms(corners[able], best[able, 4], 0.7)][: QUICK.proposals]


def test_each_box_is_looked_at_alone(detector: TwoStage, maps: Tensor) -> None:
    proposed = detector.propose((maps, UNEVEN))
    regions = detector.look(proposed)
    box = proposed.boxes[3]
    pooled = torch.empty(1, 1024, QUICK.pool, QUICK.pool)
    left, top, right, bottom = (int(edge) for edge in (box / 16 + 0.5).floor())
    for row in range(QUICK.pool):
        for column in range(QUICK.pool):
            rows = cells(top, bottom, row, 6)
            columns = cells(left, right, column, 10)
            pooled[..., row, column] = maps[:, :, rows, columns].amax((2, 3))
    features = detector.res5(pooled).mean((2, 3))
    torch.testing.assert_close(regions.features[3:4], features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(regions.scores.sum(1), torch.ones(QUICK.proposals))
    drawn = detector.objects.class_logits(proposed.boxes)
    expected = (detector.classes(regions.features) + drawn).softmax(1)
    torch.testing.assert_close(regions.scores, expected)
    assert regions.scores[:, 1:].amax(1).median() > 0.1  # they follow the objects


def cells(start: int, end: int, number: int, most: int) -> slice:
    """Of the map that a pooled cell covers."""
    length = max(end - start + 1, 1)
    first, last = (
        number * length // QUICK.pool,
        -(-(number + 1) * length // QUICK.pool),
    )
    return slice(min(max(start + first, 0), most), min(max(start + last, 0), most))


def test_words_and_boxes_are_read_together() -> None:
    system = baseline.baseline(plan_of(TWO_STAGE))
    with torch.inference_mode():
        given = system.draw()
        for stage in system.trunk.values():
            given = stage(given)
        tail = system.tails[baseline.LOOP]
        kept = tail[baseline.NMS](given)
        rows = tail["transformer"](kept)
        assert len(kept.chosen) == 8
        assert rows.shape == (16 + 8, 32)
        turned = tail["transformer"](kept._replace(chosen=kept.chosen.flip(0)))
    # Boxes have no order: text reads the same, and boxes say the same in the other order.
    torch.testing.assert_close(turned[:16], rows[:16], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned[16:], rows[16:].flip(0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SYSTEMS)
def test_stages_one_by_one_are_the_whole(name: str) -> None:
    timed = first_pass(plan_of(name))
    with torch.inference_mode():
        for way in timed.system.tails:
            twice = [timed.system.whole(way, timed.system.draw()) for _ in range(2)]
            assert torch.equal(*twice)
            made = {}
            passes._walk(timed.system, kept_in(made))
            assert torch.equal(made[timed.system.keys(way)[-1]], twice[0])
    assert all(agreement.error < 1e-4 for key, agreement in timed.agreements.items() if not key.way)
    assert timed.flops[Key("", "cnn")] > 1e7


def kept_in(made: dict[Key, Any]) -> Callable[..., Any]:
    def call(key: Key, stage: Callable[[Any], Any], given: Any) -> Any:
        made[key] = stage(given)
        return made[key]

    return call


def test_ways_that_keep_other_boxes_are_told_and_not_timed(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = class_nms.exact
    monkeypatch.setattr(class_nms, "exact", lambda *a, count: right(*a, count=count + 1)[1:])
    words = ("--device", "cpu", "--quick", "--latency.systems", TWO_STAGE)
    answer = call("bench", "latency", *words)
    assert answer.code == 1
    assert "exact keeps 12% other boxes than the loop" in answer.out
    assert "ms" not in answer.out


def test_stages_that_are_not_the_model_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("soho_r101_12")
    made = ours.our_system(plan)
    rows = made.trunk["transformer"]
    broken = {**made.trunk, "transformer": lambda cells: rows(1.01 * cells)}
    monkeypatch.setattr(passes, "our_system", lambda _: replace(made, trunk=broken))
    with pytest.raises(DisagreementError, match=r"the stages are .* from see and read, allowed"):
        first_pass(plan)
    broken["transformer"] = lambda cells: rows(cells) / 0
    with pytest.raises(DisagreementError, match="or no numbers"):
        first_pass(plan)


def test_a_quick_run_of_all_keeps_rows_where_told(call: Call, tmp_path: Path) -> None:
    answer = call("bench", "latency", "--device", "cpu", "--quick", "--out", tmp_path)
    assert answer.code == 0, answer.out
    (path,) = tmp_path.glob("*/latency.csv")
    rows = ledger.read(path)
    wholes = {(r["provider"], r["case"]): r for r in rows if r["case"].startswith("whole")}
    assert {provider for provider, _ in wholes} == {
        *("two_stage, loop", "two_stage, exact", "two_stage, best class"),
        *("vlp_fast soho_r101_12", "vlp_fast e2e_vlp_r50_6", "vlp_fast e2e_vlp_r152_12"),
    }
    assert {case for _, case in wholes} == {"whole-96x96-T16", "whole-96x160-T16"}
    assert {row["note"] for row in rows} == {"quick"}
    nms = {r["provider"]: r["wrong_share"] for r in rows if r["case"].startswith("class_nms")}
    assert nms["two_stage, loop"] == nms["two_stage, exact"] == "0"
    assert len(answer.out.splitlines()) == len(wholes) + 1  # no claim of these sizes
    assert call("bench", "--report", path.parent).code == 0


SYSTEM = System(
    trunk={"a": lambda x: x + 1, "b": lambda x: x * 2},
    tails={"one": {"c": lambda x: x - 1}, "two": {"c": lambda x: -x, "d": lambda x: x - 3}},
    draw=lambda: 5,
    check=lambda made: {Key("two", "c"): Agreement(made["two", "c"])},
)


def test_a_pass_times_shared_stages_once_and_sums_up_each_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passes, "our_system", lambda _: SYSTEM)
    timed = first_pass(plan_of("soho_r101_12"))
    assert timed.agreements == {Key("two", "c"): Agreement(-12)}
    clock = iter(range(100))
    monkeypatch.setattr(passes.time, "perf_counter", lambda: float(next(clock) ** 2))
    monkeypatch.setattr(passes.time, "process_time", lambda: 0.0)
    assert passes._timed_pass(timed) == 1 + 5 + 9 + 13 + 17
    seconds = {key: lap.seconds for key, (lap,) in timed.laps.items()}
    assert seconds == {
        ("", "a"): 1,
        ("", "b"): 5,
        ("one", "c"): 9,
        ("two", "c"): 13,
        ("two", "d"): 17,
        ("one", WHOLE): 15,
        ("two", WHOLE): 36,
    }
    assert [SYSTEM.whole(way, 5) for way in ("one", "two")] == [11, -15]


def test_the_papers_factors_stand_beside_those_of_the_clock() -> None:
    wall = {TWO_STAGE: 46.4, "soho_r101_12": 4.0, "e2e_vlp_r50_6": 1.0, "e2e_vlp_r152_12": 8.0}
    found = []
    for plan in plans((), "cpu"):
        ways = ("loop", "exact") if plan.system == TWO_STAGE else ("",)
        system = replace(SYSTEM, tails={way: {} for way in ways})
        scale = plan.size[0] / 800 if plan.system.startswith("e2e") else 1.0
        laps = [Lap(scale * wall[plan.system] * x, 2 * wall[plan.system]) for x in (1, 1, 9)]
        timed = Timed(plan=plan, system=system)
        timed.laps = {Key(way, WHOLE): laps for way in ways}
        found.append(timed)
    told = {(c.fast, c.slow): (c.paper, c.here, c.by_cpu) for c in claims(found)}
    soho, slow = "vlp_fast soho_r101_12 600x1000", "two_stage, exact 600x1000"
    assert told[soho, slow] == (10, pytest.approx(11.6), pytest.approx(11.6))
    largest = "vlp_fast e2e_vlp_r152_12 800x1333"
    assert told[largest, "two_stage, loop 600x1000"] == (2.6, pytest.approx(5.8), 5.8)
    by_size = {fast.split()[-1]: t[:2] for (fast, slow), t in told.items() if slow == largest}
    assert by_size == {
        "448x448": (5, pytest.approx(800 / 448)),
        "448x746": (3, pytest.approx(800 / 448)),
        "600x1000": (1.5, pytest.approx(800 / 600)),
    }
    assert len(told) == 2 * 2 + 2 * 3


def test_wrong_words_are_one_line(call: Call) -> None:
    call("bench", "latency", "--latency.systems", "vilt").assert_refused("'vilt'", *SYSTEMS)
    call("bench", "latency", "--latency.passes", "0").assert_refused("passes 0", "1 or more")
