"""Set losses against a loop over layers, images and queries in float64, and gradcheck."""

import pytest
import torch
from torch.nn import functional as F

from vlp_fast import ops


def make_problem(counts, *, layers=2, queries=4, classes=3, attributes=5, dtype=torch.float64):
    g = torch.Generator().manual_seed(len(counts) + sum(counts))
    random = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)
    images = [
        (
            torch.rand(n, 4, generator=g) * 0.4 + 0.2,
            torch.randint(classes, (n,), generator=g),
            torch.randint(-1, attributes, (n,), generator=g),
        )
        for n in counts
    ]
    shape = (layers, len(counts), queries)
    logits, attribute_logits = random(*shape, classes + 1), random(*shape, attributes)
    boxes = random(*shape, 4).sigmoid() * 0.5 + 0.2
    matches = torch.full((layers, sum(counts)), -1)
    for layer in range(layers):
        start = 0
        for n in counts:
            order = torch.randperm(max(queries, n), generator=g)[:n]
            matches[layer, start : start + n] = torch.where(order < queries, order, -1)
            start += n
    return logits, boxes, attribute_logits, images, matches


def giou(a, b):
    a, b = (torch.cat([x[:2] - x[2:] / 2, x[:2] + x[2:] / 2]) for x in (a, b))
    sides = torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])
    inter = sides.clamp(min=0).prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter
    hull = (torch.maximum(a[2:], b[2:]) - torch.minimum(a[:2], b[:2])).prod()
    return inter / union - (hull - union) / hull


def loop(
    logits,
    boxes,
    attribute_logits,
    images,
    matches,
    eos_coef=0.1,
    num_boxes=None,
    class_weight=None,
):
    """DETR's losses of each layer, as its code states them."""
    total = sum(len(labels) for _, labels, _ in images)
    num_boxes = max(total if num_boxes is None else num_boxes, 1)
    terms = []
    for layer in range(len(logits)):
        none = logits.shape[-1] - 1
        classes = torch.full(logits.shape[1:3], none)
        weight = torch.ones(none + 1, dtype=torch.float64)
        weight[-1] = eos_coef
        if class_weight is not None:
            weight = class_weight.double()
        bbox = overlap = tagged = torch.zeros((), dtype=torch.float64)
        tags, target = 0, 0
        for image, annotation in enumerate(images):
            for box, label, attribute in zip(*annotation, strict=True):
                query = matches[layer, target]
                target += 1
                if query < 0:
                    continue
                classes[image, query] = label
                predicted = boxes[layer, image, query].double()
                bbox = bbox + (predicted - box.double()).abs().sum()
                overlap = overlap + 1 - giou(predicted, box.double())
                if attribute >= 0:
                    row = attribute_logits[layer, image, query].double()
                    tagged = tagged - row.log_softmax(-1)[attribute]
                    tags += 1
        flat = logits[layer].double().flatten(0, 1)
        classed = F.cross_entropy(flat, classes.flatten(), weight)
        terms.append(
            torch.stack([classed, bbox / num_boxes, overlap / num_boxes, tagged / max(tags, 1)])
        )
    return torch.stack(terms)


def ours(logits, boxes, attribute_logits, images, matches, **options):
    losses = ops.set_losses(
        logits,
        boxes,
        ops.make_targets(images),
        matches,
        attribute_logits=attribute_logits,
        **options,
    )
    names = ("class_loss", "bbox_loss", "giou_loss", "attribute_loss")
    return torch.stack([getattr(losses, name) for name in names], -1)


OPTIONS = [
    {},
    {"eos_coef": 0.7, "num_boxes": 2.5},
    {"class_weight": torch.linspace(0.2, 3.0, 4), "eos_coef": 9.0},
]


@pytest.mark.parametrize("counts", [(2, 0, 3), (1,), (4, 4), (0, 0), (6, 1)])
@pytest.mark.parametrize("options", OPTIONS)
def test_equals_the_loop_in_value_and_gradient(counts, options) -> None:
    problem = make_problem(counts)
    leaves = [[x.clone().requires_grad_() for x in problem[:3]] for _ in range(2)]
    found = ours(*leaves[0], *problem[3:], **options)
    expected = loop(*leaves[1], *problem[3:], **options)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    mix = torch.linspace(0.5, 2, expected.numel(), dtype=torch.float64).view_as(expected)
    (found * mix).sum().backward()
    (expected * mix).sum().backward()
    for a, b in zip(*leaves, strict=True):
        expected_grad = torch.zeros_like(b) if b.grad is None else b.grad
        torch.testing.assert_close(a.grad, expected_grad, rtol=1e-9, atol=1e-12)


def test_gradcheck() -> None:
    logits, boxes, attribute_logits, images, matches = make_problem((2, 0, 6), layers=1)
    leaves = [x.clone().requires_grad_() for x in (logits, boxes, attribute_logits)]
    function = lambda a, b, c: ours(a, b, c, images, matches)
    assert torch.autograd.gradcheck(function, leaves)


def test_a_perfect_prediction_costs_nothing() -> None:
    targets = ops.make_targets(
        [(torch.tensor([[0.5, 0.5, 0.2, 0.4]]), torch.tensor([1]), torch.tensor([0]))]
    )
    logits = torch.full((1, 1, 2, 3), -50.0)
    logits[0, 0, 1, 1] = logits[0, 0, 0, 2] = 50.0
    boxes = torch.tensor([[[[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.4]]]])
    losses = ops.set_losses(logits, boxes, targets, torch.tensor([[1]]))
    for term in (losses.class_loss, losses.bbox_loss, losses.giou_loss, losses.attribute_loss):
        assert abs(term.item()) < 1e-6


def test_number_of_boxes_may_be_a_tensor_and_counts_at_least_one() -> None:
    problem = make_problem((2, 1))
    number = ours(*problem, num_boxes=3.0)
    assert torch.equal(ours(*problem, num_boxes=torch.tensor(3.0)), number)
    assert torch.equal(ours(*problem), number)
    few = ours(*problem, num_boxes=torch.tensor(0.25))
    torch.testing.assert_close(few[:, 1:3], number[:, 1:3] * 3)


def test_broken_query_that_nobody_matched_does_not_touch_the_box_losses() -> None:
    logits, boxes, attribute_logits, images, matches = make_problem((6,), layers=1)
    expected = ours(logits, boxes, attribute_logits, images, matches)
    free = torch.where(matches == 0, -1, matches)
    clean = ours(logits, boxes, attribute_logits, images, free)
    boxes = boxes.clone()
    boxes[0, 0, 0] = torch.nan
    leaf = boxes.requires_grad_()
    found = ours(logits, leaf, attribute_logits, images, free)
    torch.testing.assert_close(found, clean)
    assert not torch.allclose(found, expected)
    found[:, 1:3].sum().backward()
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[0, 0, 0] == 0).all()


@pytest.mark.parametrize("box", [[0.5, 0.5, 0.0, 0.0], [0.0] * 4, [torch.nan] * 4])
def test_a_target_left_over_does_not_touch_the_box_losses(box) -> None:
    logits, boxes, _, images, matches = make_problem((3,), layers=1)
    left = (torch.tensor([box]), torch.tensor([0]), torch.tensor([-1]))
    with_left = [tuple(torch.cat(parts) for parts in zip(images[0], left, strict=True))]
    answers = []
    for annotations, queries in (
        (images, matches),
        (with_left, torch.cat([matches, torch.tensor([[-1]])], 1)),
    ):
        leaf = boxes.clone().requires_grad_()
        losses = ours(logits, leaf, None, annotations, queries, num_boxes=3.0)[:, 1:3]
        losses.sum().backward()
        answers.append((losses, leaf.grad))
    assert torch.equal(answers[1][0], answers[0][0])
    assert torch.equal(answers[1][1], answers[0][1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype) -> None:
    problem = make_problem((2, 3), dtype=dtype)
    found = ours(*problem)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), loop(*problem), rtol=1e-5, atol=1e-6)


def test_wrong_input_is_refused() -> None:
    logits, boxes, attribute_logits, images, matches = make_problem((2, 1))
    with pytest.raises(ValueError, match="set_losses: received logits"):
        ours(logits, boxes[:, :1], attribute_logits, images, matches)
    with pytest.raises(ValueError, match="set_losses: received attribute_logits"):
        ours(logits, boxes, attribute_logits[:1], images, matches)
    with pytest.raises(ValueError, match="set_losses: received matches"):
        ours(logits, boxes, attribute_logits, images, matches[:, :2])
    with pytest.raises(ValueError, match="targets of 1 images"):
        ours(logits, boxes, attribute_logits, images[:1], matches[:, :2])
