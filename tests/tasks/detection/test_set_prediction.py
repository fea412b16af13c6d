"""Detection's loss and read-out against loops in float64 with SciPy's assignment."""

from itertools import pairwise

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vlp_fast import ops
from vlp_fast.tasks.detection.set_prediction import (
    DetectionWeights,
    detection_loss,
    matched_attribute_accuracy,
    predictions,
)

LAYERS, QUERIES, CLASSES, ATTRIBUTES = 3, 6, 4, 5
COUNTS = (3, 0, 5)
WEIGHTS = DetectionWeights(classes=1.5, bbox=4.0, giou=3.0, attribute=0.7, eos=0.2)


def random_boxes(*shape: int, draw: torch.Generator) -> Tensor:
    sides = 0.05 + 0.4 * torch.rand(*shape, 2, generator=draw)
    centres = sides / 2 + (1 - sides) * torch.rand(*shape, 2, generator=draw)
    return torch.cat([centres, sides], -1)


def heads(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shape = (LAYERS, len(COUNTS), QUERIES)
    return (
        2 * torch.randn(*shape, CLASSES + 1, generator=draw),
        random_boxes(*shape, draw=draw),
        2 * torch.randn(*shape, ATTRIBUTES + 1, generator=draw),
    )


def annotations(seed: int = 1) -> ops.Targets:
    draw = torch.Generator().manual_seed(seed)
    images = [
        (
            random_boxes(n, draw=draw),
            torch.randint(CLASSES, (n,), generator=draw),
            torch.randint(-1, ATTRIBUTES, (n,), generator=draw),
        )
        for n in COUNTS
    ]
    return ops.make_targets(images)


def giou(a: Tensor, b: Tensor) -> Tensor:
    low_a, high_a = a[:2] - a[2:] / 2, a[:2] + a[2:] / 2
    low_b, high_b = b[:2] - b[2:] / 2, b[:2] + b[2:] / 2
    inner = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp(min=0).prod()
    union = a[2:].prod() + b[2:].prod() - inner
    hull = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).prod()
    return inner / union - (hull - union) / hull


def assigned(cost: list[list[float]]) -> list[int]:
    _, queries = linear_sum_assignment(cost)
    return [int(q) for q in queries]


def matched_pairs(
    logits: Tensor, boxes: Tensor, names: Tensor | None, targets: ops.Targets, w: DetectionWeights
) -> list[tuple[int, int, int]]:
    """(image, query, target) of one layer, by the definition of the cost."""
    found = []
    for image, (start, end) in enumerate(pairwise(targets.cu_targets.tolist())):
        if start == end:
            continue
        cost = [[0.0] * QUERIES for _ in range(start, end)]
        for t in range(start, end):
            for q in range(QUERIES):
                box, target = boxes[image, q], targets.boxes[t].double()
                value = -w.classes * logits[image, q].softmax(0)[targets.labels[t]]
                value += w.bbox * (box - target).abs().sum() - w.giou * giou(box, target)
                if names is not None and targets.attributes[t] >= 0:
                    value -= w.attribute * names[image, q].softmax(0)[targets.attributes[t]]
                cost[t - start][q] = float(value)
        found += [(image, q, start + i) for i, q in enumerate(assigned(cost))]
    return found


def loss_by_loop(
    logits: Tensor, boxes: Tensor, names: Tensor | None, targets: ops.Targets
) -> tuple[Tensor, dict[str, Tensor]]:
    total = torch.zeros((), dtype=torch.float64)
    parts: dict[str, Tensor] = {}
    for layer in range(LAYERS):
        layer_names = None if names is None else names[layer]
        with torch.no_grad():
            pairs = matched_pairs(logits[layer], boxes[layer], layer_names, targets, WEIGHTS)
        label = {(i, q): int(targets.labels[t]) for i, q, t in pairs}
        terms, weights = [], []
        for i in range(len(COUNTS)):
            for q in range(QUERIES):
                wanted = label.get((i, q), CLASSES)
                weights.append(WEIGHTS.eos if wanted == CLASSES else 1.0)
                terms.append(-weights[-1] * logits[layer, i, q].log_softmax(0)[wanted])
        parts = {"class": torch.stack(terms).sum() / sum(weights)}
        couples = [(boxes[layer, i, q], targets.boxes[t].double()) for i, q, t in pairs]
        parts["bbox"] = torch.stack([(a - b).abs().sum() for a, b in couples]).sum() / sum(COUNTS)
        parts["giou"] = torch.stack([1 - giou(a, b) for a, b in couples]).sum() / sum(COUNTS)
        total = total + 1.5 * parts["class"] + 4 * parts["bbox"] + 3 * parts["giou"]
        if layer_names is not None:
            named = [(layer_names[i, q], int(targets.attributes[t])) for i, q, t in pairs]
            losses = [-row.log_softmax(0)[a] for row, a in named if a >= 0]
            parts["attribute"] = torch.stack(losses).mean()
            total = total + 0.7 * parts["attribute"]
    return total, parts


@pytest.mark.parametrize("has_attributes", [True, False])
def test_loss_equals_a_loop_in_value_and_gradient(has_attributes: bool) -> None:
    targets = annotations()
    assert (targets.attributes == -1).any()
    given = list(heads() if has_attributes else heads()[:2])
    ours = [x.clone().requires_grad_() for x in given]
    exact = [x.double().requires_grad_() for x in given]
    no_names = [] if has_attributes else [None]
    total, parts = detection_loss(*ours, *no_names, targets, WEIGHTS)
    expected, expected_parts = loss_by_loop(*exact, *no_names, targets)
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-5)
    assert set(parts) == set(expected_parts)
    for name, value in parts.items():
        torch.testing.assert_close(value.double(), expected_parts[name], rtol=1e-5, atol=1e-5)
        assert not value.requires_grad
    total.backward()
    expected.backward()
    for mine, reference in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine.grad.double(), reference.grad, rtol=1e-4, atol=1e-5)


def test_the_matching_sees_attributes() -> None:
    logits, boxes, names = heads(seed=5)
    targets = annotations(seed=6)
    without, _ = detection_loss(logits, boxes, None, targets, WEIGHTS)
    strong = DetectionWeights(attribute=50.0)
    weak = DetectionWeights(attribute=0.0)
    _, seen = detection_loss(logits, boxes, names, targets, strong)
    _, unseen = detection_loss(logits, boxes, names, targets, weak)
    assert seen["attribute"] < unseen["attribute"]
    assert without.isfinite()


def test_no_annotated_attribute_has_no_attribute_loss() -> None:
    logits, boxes, names = heads()
    names.requires_grad_()
    targets = ops.make_targets(
        [(torch.rand(n, 4) / 2 + 0.2, torch.zeros(n, dtype=torch.int64), torch.full((n,), -1))
         for n in COUNTS]
    )  # fmt: skip
    total, parts = detection_loss(logits, boxes, names, targets, WEIGHTS)
    assert float(parts["attribute"]) == 0
    total.backward()
    assert names.grad is None or not names.grad.any()


def test_a_batch_without_objects_teaches_no_object_only() -> None:
    logits, boxes, names = (x.requires_grad_() for x in heads())
    empty = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0).long())
    total, parts = detection_loss(
        logits, boxes, names, ops.make_targets([empty] * len(COUNTS)), WEIGHTS
    )
    expected = -logits.double().log_softmax(-1)[..., -1].mean((1, 2)).sum() * WEIGHTS.classes
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-6)
    assert float(parts["bbox"]) == float(parts["giou"]) == 0
    total.backward()
    assert boxes.grad is None or not boxes.grad.any()


def test_predictions_equal_a_loop() -> None:
    logits, boxes, names = (x[-1] for x in heads(seed=3))
    logits[0, :, -1] += 50  # "no object" is never a prediction, however likely
    boxes[1, 0] = torch.tensor([0.95, 0.5, 0.4, 0.4])  # reaches beyond the image
    for i, found in enumerate(predictions(logits, boxes, names, limit=4)):
        rows = []
        for q in range(QUERIES):
            shares = logits[i, q].double().softmax(0)[:-1]
            cx, cy, w, h = boxes[i, q].tolist()
            corners = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            rows.append(
                (
                    float(shares.max()),
                    int(shares.argmax()),
                    [min(max(c, 0.0), 1.0) for c in corners],
                    int(names[i, q, :-1].argmax()),
                )
            )
        rows = sorted(rows, key=lambda row: -row[0])[:4]
        assert found.scores.tolist() == pytest.approx([r[0] for r in rows], rel=1e-5)
        assert found.labels.tolist() == [r[1] for r in rows]
        torch.testing.assert_close(found.boxes, torch.tensor([r[2] for r in rows]))
        assert found.attributes is not None
        assert found.attributes.tolist() == [r[3] for r in rows]


def test_predictions_keep_at_most_all_queries() -> None:
    logits, boxes, _ = (x[-1] for x in heads())
    found = predictions(logits, boxes, None)
    assert [len(f.scores) for f in found] == [QUERIES] * len(COUNTS)
    assert all(f.attributes is None for f in found)
    assert all((f.scores.diff() <= 0).all() for f in found)


def test_matched_accuracy_equals_a_loop() -> None:
    logits, boxes, names = (x[-1] for x in heads(seed=8))
    targets = annotations(seed=9)
    pairs = matched_pairs(logits.double(), boxes.double(), None, targets, DetectionWeights())
    # Make half of the answers right, so that neither count is zero.
    for i, q, t in pairs[::2]:
        names[i, q, max(int(targets.attributes[t]), 0)] += 30
    counts = matched_attribute_accuracy(logits, boxes, names, targets)
    right_class = sum(int(logits[i, q, :-1].argmax() == targets.labels[t]) for i, q, t in pairs)
    annotated = [(i, q, t) for i, q, t in pairs if targets.attributes[t] >= 0]
    right = sum(int(names[i, q, :-1].argmax() == targets.attributes[t]) for i, q, t in annotated)
    assert 0 < right < len(annotated) < sum(COUNTS)
    assert [int(v) for v in counts["matched_class"]] == [right_class, sum(COUNTS)]
    assert [int(v) for v in counts["matched_attribute"]] == [right, len(annotated)]
