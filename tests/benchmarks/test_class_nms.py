"""Three ways from scores of all classes to boxes: two keep the same ones, the third others."""

import itertools

import pytest
import torch
from torch import Tensor

from vlp_fast.benchmarks.latency import class_nms, drawn


def random_boxes(count: int, seed: int, side: float = 60.0) -> Tensor:
    """Whole pixels, so that many overlap alike, and some are equal."""
    draw = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 100, (count, 2), generator=draw).float()
    sides = torch.randint(8, int(side), (count, 2), generator=draw).float()
    boxes = torch.cat([corners, corners + sides], dim=1)
    boxes[count // 2 :: 7] = boxes[0].clone()
    return boxes


def random_scores(count: int, classes: int, seed: int, levels: int | None = None) -> Tensor:
    """Probabilities; of a few levels, for ties within and between classes."""
    draw = torch.Generator().manual_seed(seed)
    scores = (3 * torch.randn(count, classes + 1, generator=draw)).softmax(1)
    return scores if levels is None else (scores * levels).round() / levels


def kept_one_by_one(boxes: Tensor, scores: Tensor, count: int) -> list[int]:
    """The original's rule in Python's own floats: class by class, box by box."""
    corners, best = boxes.tolist(), [0.0] * len(boxes)
    for of_class in scores[:, 1:].T.tolist():
        survivors: list[int] = []
        for box in sorted(range(len(boxes)), key=lambda b: -of_class[b]):
            if all(overlap(corners[box], corners[other]) <= 0.3 for other in survivors):
                survivors.append(box)
        for box in survivors:
            best[box] = max(best[box], of_class[box])
    return sorted(range(len(boxes)), key=lambda b: -best[b])[:count]


def overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union."""
    area = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    inside = max(across, 0.0) * max(down, 0.0)
    return inside / (sum(area) - inside)


@pytest.mark.parametrize("count", [1, 10, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_loop_keeps_what_the_rule_says(seed: int, count: int) -> None:
    boxes, scores = random_boxes(20, seed), random_scores(20, 6, seed)
    kept = class_nms.loop(boxes, scores, count=count)
    assert kept.tolist() == kept_one_by_one(boxes, scores, count)
    assert class_nms.loop_on_device(boxes, scores, count=count).tolist() == kept.tolist()


@pytest.mark.parametrize("levels", [None, 50, 3])
@pytest.mark.parametrize(("count", "boxes"), [(1, 1), (5, 1), (3, 40), (40, 40), (100, 40)])
def test_the_exact_way_keeps_the_same_boxes(count: int, boxes: int, levels: int | None) -> None:
    """In the same order, if scores are tied and where few reach the threshold, too."""
    for seed in range(4):
        given = random_boxes(boxes, seed), random_scores(boxes, 30, seed, levels)
        expected = class_nms.loop(*given, count=count)
        assert torch.equal(class_nms.exact(*given, count=count), expected)
        assert len(expected) == min(count, boxes)


def test_boxes_that_overlap_by_the_threshold_itself() -> None:
    """Three tenths exactly: as float32 that is more than .3, which suppression compares with."""
    parts = [(3.0, 10.0), (6.0, 20.0), (9.0, 30.0), (30.0, 100.0), (33.0, 110.0)]
    for inside, whole in parts:  # one box within the other
        boxes = torch.tensor([[0.0, 0.0, whole, 1.0], [0.0, 0.0, inside, 1.0]])
        scores = torch.tensor([[0.1, 0.5, 0.4], [0.6, 0.3, 0.1]])
        expected = class_nms.best_surviving(boxes, scores)
        kept = class_nms.exact(boxes, scores, count=1)
        assert torch.equal(kept, class_nms.loop(boxes, scores, count=1))
        near = class_nms._overlapping(boxes)[0] >> 1 & 1
        assert bool(near) == bool(expected[1] == 0)


def test_the_rule_of_the_best_class_is_another_one() -> None:
    """Two boxes of one place and two classes: class by class both survive."""
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.5], [50.0, 50.0, 60.0, 60.0]])
    scores = torch.tensor([[0.1, 0.8, 0.1], [0.1, 0.1, 0.7], [0.7, 0.2, 0.1]])
    assert class_nms.loop(boxes, scores, count=2).tolist() == [0, 1]
    assert class_nms.exact(boxes, scores, count=2).tolist() == [0, 1]
    assert class_nms.best_class(boxes, scores, count=2).tolist() == [0, 2]
    assert class_nms.best_class(boxes, scores, count=3).tolist() == [0, 1, 2]  # at no overlap


def test_drawn_scores_follow_the_objects() -> None:
    objects = drawn.draw_objects((600, 1000), count=150, boxes=40, classes=1600)
    assert objects.boxes.min() >= 0
    assert (objects.boxes[:, 2:] <= torch.tensor([1000.0, 600.0])).all()
    scores = objects.class_logits(objects.boxes[:40]).softmax(1)
    rows = torch.arange(40)
    own = [scores[rows, objects.names[:40, name]] for name in (0, 1)]
    for share, found in zip(drawn.NAMES, own, strict=True):
        torch.testing.assert_close(found, torch.full((40,), share), atol=0.01, rtol=0)
    nowhere = objects.class_logits(torch.tensor([[0.0, 0.0, 1.0, 1.0]])).softmax(1)
    assert nowhere[0, 0] > 0.85
    near = objects.objectness(torch.cat([objects.boxes[:1], torch.tensor([[0.0, 0, 1, 1]])]))
    assert near[0] - near[1] > 7


def test_order_of_boxes_does_not_matter() -> None:
    boxes, scores = random_boxes(12, 5), random_scores(12, 8, 5)
    boxes = torch.cat([boxes[:1], boxes[1:] + torch.arange(11)[:, None] * 0.01])
    expected = {tuple(boxes[b].tolist()) for b in class_nms.exact(boxes, scores, count=6).tolist()}
    for order in itertools.islice(itertools.permutations(range(12)), 0, 2000, 400):
        turned, places = (
            boxes[list(order)],
            class_nms.exact(boxes[list(order)], scores[list(order)], count=6),
        )
        assert {tuple(turned[b].tolist()) for b in places.tolist()} == expected


def test_boxes_of_score_0_are_filled_up_in_their_order() -> None:
    """The second lies on the first and survives nowhere, the third survives: both count 0."""
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 9.0], [50.0, 50.0, 60.0, 60.0]])
    scores = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    for keep in (class_nms.loop, class_nms.exact):
        assert keep(boxes, scores, count=3).tolist() == [0, 1, 2]
