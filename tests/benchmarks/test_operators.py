"""The cases of every operator run to the end on a CPU, and their checks see what is wrong."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.benchmarks import (
    OPERATORS,
    detr,
    losses,
    matchers,
    matching,
    padded_matching,
    solvers,
    suite,
)
from vlp_fast.benchmarks.case import Provider, Setting
from vlp_fast.benchmarks.harness import DisagreementError, measure
from vlp_fast.benchmarks.problems import COSTS, Scene, draw_scene

QUICK = Setting(device="cpu", is_quick=True)
ALL = [(operator, name) for operator in OPERATORS for name in suite.cases(operator, QUICK)]


@pytest.mark.parametrize(("operator", "name"), ALL)
def test_a_quick_run_ends_in_rows(operator: str, name: str) -> None:
    rows = suite.run(suite.cases(operator, QUICK)[name], QUICK)
    assert {(row["operator"], row["case"]) for row in rows} == {(operator, name)}
    timed = [row for row in rows if row["median_us"]]
    assert {row["note"] for row in timed} == {"quick"}
    assert timed[0]["provider"] == "vlp_fast"
    assert len(timed) >= 2  # ours and at least one peer
    for row in timed:
        assert float(row["median_us"]) > 0
        assert float(row["max_error"]) < 1e-3


@pytest.mark.parametrize(("operator", "name"), ALL)
def test_a_wrong_solution_is_seen(operator: str, name: str) -> None:
    case = suite.cases(operator, QUICK)[name]()
    provider = next(iter(case.providers.values()))
    solution = provider.read(provider.run())
    assert case.error(solution) <= case.tolerance
    assert not case.error(spoilt(solution)) <= case.tolerance


def spoilt(solution: object) -> object:
    """The same with its first two numbers exchanged or, of losses, one of them moved."""
    if isinstance(solution, Tensor):
        first = solution.reshape(-1)[:2]
        moved = solution.clone()
        moved.view(-1)[:2] = 9 if solution.is_floating_point() else first.flip(0)
        return moved
    if isinstance(solution, list):
        return [spoilt(part) for part in solution]
    assert isinstance(solution, tuple)
    losses, gradients = solution
    return {**losses, "loss_giou_0": losses["loss_giou_0"] * 1.01}, gradients


def scene(**changes: int) -> Scene:
    sizes = {"layers": 2, "batch": 3, "queries": 5, "classes": 4, "most": 3, "seed": 1}
    return draw_scene(QUICK, **{**sizes, **changes})


def cost_by_hand(drawn: Scene, layer: int, image: int) -> Tensor:
    """DETR's cost (n, Q), entry by entry, from its definition."""
    target = drawn.annotations[image]
    cost = torch.empty(len(target["labels"]), drawn.boxes.shape[2], dtype=torch.float64)
    for i, q in itertools.product(*map(range, cost.shape)):
        box, other = drawn.boxes[layer, image, q].double(), target["boxes"][i].double()
        probability = drawn.logits[layer, image, q].double().softmax(0)[target["labels"][i]]
        distance = (box - other).abs().sum()
        cost[i, q] = 5 * distance - probability - 2 * giou_by_hand(box.tolist(), other.tolist())
    return cost


def giou_by_hand(first: list[float], second: list[float]) -> float:
    sides = []
    for axis in (0, 1):
        low = [box[axis] - box[axis + 2] / 2 for box in (first, second)]
        high = [box[axis] + box[axis + 2] / 2 for box in (first, second)]
        sides.append((max(0.0, min(high) - max(low)), max(high) - min(low)))
    inside, around = sides[0][0] * sides[1][0], sides[0][1] * sides[1][1]
    union = first[2] * first[3] + second[2] * second[3] - inside
    return inside / union - (around - union) / around


def test_every_matcher_finds_the_cheapest_of_all_assignments() -> None:
    drawn = scene()
    ours = matchers.by_ours(drawn)
    of_detr = matchers.read_detr([matchers.by_detr(drawn)])[0]
    padded = padded_matching.match(drawn, padded_matching.cost)
    of_padded = matchers.read_padded([drawn], [padded])[0]
    by_cdist = padded_matching.match(drawn, padded_matching.cost_by_cdist)
    of_cdist = matchers.read_padded([drawn], [by_cdist])[0]
    of_drop_in = matchers.read_detr([matchers.drop_in()(drawn)])[0]
    for layer, image in itertools.product(range(2), range(3)):
        cost = cost_by_hand(drawn, layer, image)
        rows = range(len(cost))
        best = min(itertools.permutations(range(5), len(cost)), key=lambda p: cost[rows, p].sum())
        start = int(drawn.targets.cu_targets[image])
        for found in (ours, of_detr, of_padded, of_cdist, of_drop_in):
            assert tuple(found[layer, start : start + len(cost)].tolist()) == best


def test_costs_are_of_their_kind() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = {kind: draw(8, 20, generator) for kind, draw in COSTS.items()}
    assert {cost.shape for cost in drawn.values()} == {(8, 20)}
    assert drawn["untrained"].std(1).max() < 1e-3 < drawn["untrained"].std(0).min()
    own = drawn["trained"].argmin(1)
    assert len(own.unique()) == 8
    assert -2 <= drawn["boxes"].min() < drawn["boxes"].max() <= 5 * 3 + 2
    assert drawn["boxes"].std(1).min() > 0.5


def test_batches_that_vary_are_padded_to_different_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Scene] = []
    monkeypatch.setattr(
        matching, "_match_case", lambda setting, name, scenes: drawn.extend(scenes) or name
    )
    monkeypatch.setattr(matching, "QUERIES", 1)
    makers = suite.cases("matching", Setting(device="cpu"))
    (name,) = (name for name in makers if "varied" in name)
    assert makers[name]() == name
    sizes = [one.targets.max_count for one in drawn]
    assert len(sizes) == matching.VARIED_BATCHES
    assert 1 <= min(sizes) <= 5
    assert 27 <= max(sizes) <= 30
    assert len(set(sizes)) > 15


def test_the_truth_of_the_losses_is_in_float64() -> None:
    case = losses.cases(QUICK)["criterion-6xB2-T30"]()
    assert 0 < case.error(case.providers["DETR"].run()) < 1e-5


def test_packing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []
    make = ops.make_targets

    def counted(images: list[tuple[Tensor, Tensor, Tensor]]) -> ops.Targets:
        packed.append(len(images))
        return make(images)

    case = suite.cases("matching", QUICK)["match-6xB2-T30"]()
    monkeypatch.setattr(ops, "make_targets", counted)
    case.providers["vlp_fast"].run()
    assert packed == [2]


def test_problems_are_the_same_in_every_run() -> None:
    assert torch.equal(scene().boxes, scene().boxes)
    assert not torch.equal(scene().boxes, scene(seed=2).boxes)


def test_excess_is_the_distance_to_the_optimum() -> None:
    cost = torch.tensor([[1.0, 2.0, 9.0], [1.0, 5.0, 9.0], [7.0, 3.0, 4.0]])
    counts = [2, 1]
    assert solvers.excess(cost, counts, torch.tensor([1, 0, 1])) == 0
    assert solvers.excess(cost, counts, torch.tensor([0, 1, 1])) == pytest.approx(1.0)
    assert solvers.excess(cost, counts, torch.tensor([0, 0, 1])) == float("inf")
    assert solvers.excess(cost, counts, torch.tensor([1, -1, 1])) == float("inf")


def test_detr_gives_the_losses_of_the_definition() -> None:
    drawn = scene(layers=1, batch=1, most=1)
    (queries, _), *_ = detr.match(drawn.logits[0], drawn.boxes[0], drawn.annotations)
    query, target = int(queries[0]), drawn.annotations[0]
    losses = detr.Criterion(4, 0.1, "cpu")(drawn.logits, drawn.boxes, drawn.annotations)
    log_probability = drawn.logits[0, 0].log_softmax(-1)
    wanted = [4] * 5
    wanted[query] = int(target["labels"][0])
    weights = torch.tensor([1.0 if label < 4 else 0.1 for label in wanted])
    picked = torch.stack([log_probability[q, label] for q, label in enumerate(wanted)])
    torch.testing.assert_close(losses["loss_ce"], -(weights * picked).sum() / weights.sum())
    box = drawn.boxes[0, 0, query]
    torch.testing.assert_close(losses["loss_bbox"], (box - target["boxes"][0]).abs().sum())
    giou = giou_by_hand(box.tolist(), target["boxes"][0].tolist())
    assert float(losses["loss_giou"]) == pytest.approx(1 - giou, rel=1e-4)


def test_a_provider_that_errs_is_told_and_ours_ends_its_case() -> None:
    case = suite.cases("matching", QUICK)["solve-uniform-B2-T30"]()
    zeros = torch.zeros_like(case.providers["SciPy"].run())
    wrong = {**case.providers, "peer": Provider(run=lambda: zeros)}
    (told,) = (r for r in measure(replace(case, providers=wrong), QUICK) if r.provider == "peer")
    assert told.problem.startswith("disagrees: inf from the truth")
    wrong = {**case.providers, "vlp_fast": Provider(run=lambda: zeros)}
    with pytest.raises(DisagreementError, match="vlp_fast disagrees: inf from the truth"):
        measure(replace(case, providers=wrong), QUICK)
