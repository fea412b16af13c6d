"""What matching and its losses are compared with: each way is right, by hand."""

import itertools

import pytest
import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.benchmarks import detr, grouped_matching, matching, padded_matching
from vlp_fast.benchmarks.case import Setting, cases
from vlp_fast.benchmarks.matching import Costs
from vlp_fast.benchmarks.scenes import COSTS, Scene, draw_scene

CPU = Setting(device="cpu")


def scene(layers: int = 2, batch: int = 3, most: int = 3, seed: int = 1) -> Scene:
    return draw_scene(CPU, batch=batch, most=most, seed=seed, shape=(layers, 5, 4))


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
    solutions = [
        matching.match_all(drawn),
        detr.read(drawn, detr.match(drawn)),
        detr.read(drawn, matching.drop_in(drawn)()),
        padded_matching.read(drawn, padded_matching.match(padded_matching.cost, drawn)),
        padded_matching.read(drawn, padded_matching.match(padded_matching.cost_by_cdist, drawn)),
    ]
    starts = [0, *itertools.accumulate(drawn.counts)]
    for layer, image in itertools.product(range(2), range(3)):
        cost = cost_by_hand(drawn, layer, image)
        rows = range(len(cost))
        best = min(itertools.permutations(range(5), len(cost)), key=lambda p: cost[rows, p].sum())
        for found in solutions:
            assert tuple(found[layer, starts[image] : starts[image + 1]].tolist()) == best


def test_groups_are_read_and_held_to_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped_matching, "QUERIES", 5)
    drawn = draw_scene(CPU, batch=2, most=3, seed=1, shape=(2, 10, 4))
    found = grouped_matching.match_all(drawn)
    assert found.shape == (2, 2, sum(drawn.counts))
    assert grouped_matching.excess(drawn, found) < 1e-5
    first = drawn.counts[0]
    target, (one, another) = drawn.annotations[0], (found[1, group, 0] for group in (0, 1))
    by_hand = grouped_matching.cost(drawn, 1, 0)[0, one]
    p = drawn.logits[1, 0, one].double().sigmoid()[target["labels"][0]]
    distance = 5 * (drawn.boxes[1, 0, one] - target["boxes"][0]).abs().sum().double()
    giou = giou_by_hand(drawn.boxes[1, 0, one].tolist(), target["boxes"][0].tolist())
    focal = 0.75 * p**2 * (1 - p).log() - 0.25 * (1 - p) ** 2 * p.log()
    assert float(by_hand) == pytest.approx(float(2 * focal + distance - 2 * giou), rel=1e-5)
    free = next(q for q in range(5, 10) if q not in found[1, 1, :first])
    for wrong in (free, one):  # a worse query of the group, one of the other group
        spoilt = found.clone()
        spoilt[1, 1, 0] = wrong
        assert another not in (free, one)
        assert grouped_matching.excess(drawn, spoilt) > 1e-4
    pairs = [
        [
            (torch.cat([x[g, k : k + n] for g in (0, 1)]), torch.arange(n).repeat(2))
            for k, n in ((0, first), (first, drawn.counts[1]))
        ]
        for x in found
    ]
    assert torch.equal(grouped_matching.read(drawn, pairs), found)


def test_costs_are_of_their_kind() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = {kind: draw(8, 20, generator) for kind, draw in COSTS.items()}
    assert {cost.shape for cost in drawn.values()} == {(8, 20)}
    assert drawn["untrained"].std(1).max() < 1e-3 < drawn["untrained"].std(0).min()
    assert len(drawn["trained"].argmin(1).unique()) == 8
    assert -2 <= drawn["boxes"].min() < drawn["boxes"].max() <= 5 * 3 + 2
    assert drawn["boxes"].std(1).min() > 0.5


def test_batches_that_vary_are_padded_to_different_sizes() -> None:
    (varied,) = (case for case in cases("matching", CPU) if "varied" in case.name)
    most = [draw.keywords["most"] for draw in varied.draws]
    assert (min(most), max(most), len(most)) == (3, 30, matching.VARIED_BATCHES)
    assert len({draw.keywords["seed"] for draw in varied.draws}) == len(most)
    assert torch.equal(scene().boxes, scene().boxes)
    assert not torch.equal(scene().boxes, scene(seed=2).boxes)


def test_packing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []
    make = ops.make_targets
    monkeypatch.setattr(ops, "make_targets", lambda x: packed.append(len(x)) or make(x))
    matching.match_all(scene())
    assert packed == [3]


def test_excess_is_the_distance_to_the_optimum() -> None:
    costs = Costs(torch.tensor([[1.0, 2.0, 9.0], [1.0, 5.0, 9.0], [7.0, 3.0, 4.0]]), [2, 1])
    assert costs.excess(torch.tensor([1, 0, 1])) == 0
    assert costs.excess(torch.tensor([0, 1, 1])) == pytest.approx(1.0)
    assert costs.excess(torch.tensor([0, 0, 1])) == float("inf")
    assert costs.excess(torch.tensor([1, -1, 1])) == float("inf")


def test_detr_gives_the_losses_of_the_definition() -> None:
    drawn = scene(layers=1, batch=1, most=1)
    (query,), target = detr.read(drawn, detr.match(drawn))[0].tolist(), drawn.annotations[0]
    losses = detr.losses(drawn, drawn.logits, drawn.boxes)
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
