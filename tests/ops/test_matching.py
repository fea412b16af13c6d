"""Assignment against SciPy, and matching against DETR's cost with one SciPy call for each image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment as scipy_assignment

import vlp_fast
from vlp_fast import ops

costs = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 7), st.integers(0, 7)),
    elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6)),
)


@settings(max_examples=150, deadline=None)
@given(costs, st.booleans())
def test_assignment_is_scipys(cost, maximize) -> None:
    expected = scipy_assignment(cost, maximize)
    for pairs in (
        ops.linear_sum_assignment(cost, maximize),
        [x.numpy() for x in ops.linear_sum_assignment(torch.from_numpy(cost), maximize)],
    ):
        assert pairs[0].tolist() == expected[0].tolist()
        assert cost[pairs[0], pairs[1]].sum() == pytest.approx(cost[expected].sum())
        assert len(set(pairs[1].tolist())) == min(cost.shape)


def test_kind_in_is_kind_out() -> None:
    cost = np.array([[4, 1, 3], [2, 0, 5], [3, 2, 2]])
    rows, columns = vlp_fast.linear_sum_assignment(cost)
    assert isinstance(rows, np.ndarray)
    assert isinstance(columns, np.ndarray)
    assert (rows.dtype, columns.dtype) == (np.int64, np.int64)
    assert columns.tolist() == [1, 0, 2]
    assert ops.linear_sum_assignment(cost.tolist(), maximize=True)[1].tolist() == [0, 2, 1]
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.int32, torch.int8):
        rows, columns = ops.linear_sum_assignment(torch.tensor(cost, dtype=dtype))
        assert rows.dtype == columns.dtype == torch.int64
        assert columns.tolist() == [1, 0, 2]
    assert ops.linear_sum_assignment(torch.eye(3).bool(), maximize=True)[1].tolist() == [0, 1, 2]
    graph = torch.tensor(cost, dtype=torch.float32, requires_grad=True)
    assert ops.linear_sum_assignment(graph)[1].tolist() == [1, 0, 2]


@pytest.mark.parametrize("view", ["[::-1]", "[:, ::-1]", ".T", "[::2, 1:]", "read only"])
def test_any_array_layout(view) -> None:
    cost = np.random.default_rng(0).normal(size=(6, 5))
    if view == "read only":
        cost.setflags(write=False)
    else:
        cost = eval(f"cost{view}")
    expected = scipy_assignment(cost)
    found = ops.linear_sum_assignment(cost)
    assert [x.tolist() for x in found] == [x.tolist() for x in expected]


@pytest.mark.parametrize(
    "shape", [(4, 5, 5), (3, 2, 6), (3, 6, 2), (0, 3, 2), (2, 0, 3), (1, 1, 1)]
)
def test_a_batch_is_one_problem_after_the_other(shape) -> None:
    cost = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rows, columns = ops.linear_sum_assignment(cost)
    assert rows.shape == columns.shape == (shape[0], min(shape[1:]))
    for number, matrix in enumerate(cost):
        expected = scipy_assignment(matrix.numpy())
        assert rows[number].tolist() == expected[0].tolist()
        assert columns[number].tolist() == expected[1].tolist()
    arrays_too = ops.linear_sum_assignment(cost.numpy())
    assert np.array_equal(arrays_too[1], columns.numpy())


@pytest.mark.parametrize("convert", [np.asarray, torch.tensor])
def test_scipys_refusals(convert) -> None:
    for bad, maximize in ((np.nan, False), (-np.inf, False), (np.nan, True), (np.inf, True)):
        with pytest.raises(ValueError, match="invalid numeric entries"):
            ops.linear_sum_assignment(convert([[1.0, bad], [2.0, 3.0]]), maximize)
    for impossible, maximize in ((np.inf, False), (-np.inf, True)):
        with pytest.raises(ValueError, match="cost matrix is infeasible"):
            ops.linear_sum_assignment(convert([[1.0, impossible], [2.0, impossible]]), maximize)
    forbidden = convert([[1.0, np.inf], [2.0, 300.0]])
    assert ops.linear_sum_assignment(forbidden)[1].tolist() == [0, 1]
    for shape in ((3,), (), (1, 2, 2, 2)):
        with pytest.raises(ValueError, match="expected a matrix"):
            ops.linear_sum_assignment(convert(np.zeros(shape)))
    with pytest.raises(ValueError, match="expected a matrix"):
        ops.linear_sum_assignment(convert([[1j, 2.0], [3.0, 4.0]]))


def test_text_is_refused() -> None:
    with pytest.raises(ValueError, match="numerical entries"):
        ops.linear_sum_assignment(np.array([["a", "b"]]))


def make_problem(counts, *, layers=2, queries=5, classes=4, attributes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    images = [
        (
            torch.rand(n, 4, generator=g) * 0.5 + 0.1,
            torch.randint(classes, (n,), generator=g),
            torch.randint(-1, attributes, (n,), generator=g),
        )
        for n in counts
    ]
    shape = (layers, len(counts), queries)
    logits = torch.randn(*shape, classes + 1, generator=g)
    boxes = torch.rand(*shape, 4, generator=g) * 0.6 + 0.1
    attribute_logits = torch.randn(*shape, attributes, generator=g)
    return logits, boxes, images, attribute_logits


def giou(a, b) -> float:
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = (
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in (a.tolist(), b.tolist())
    )
    inter = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - inter
    hull = (max(ax2, bx2) - min(ax1, bx1)) * (max(ay2, by2) - min(ay1, by1))
    return inter / union - (hull - union) / hull


def loop_cost(logits, boxes, image, attribute_logits, weights=(1, 5, 2, 1)) -> np.ndarray:
    """DETR's cost of one image and layer, one pair at a time: (Q, T_i)."""
    cost = np.zeros((len(logits), len(image[1])))
    for q in range(len(logits)):
        for t in range(len(image[1])):
            value = -weights[0] * logits[q].double().softmax(-1)[image[1][t]]
            value += weights[1] * (boxes[q] - image[0][t]).double().abs().sum()
            value -= weights[2] * giou(boxes[q].double(), image[0][t].double())
            if attribute_logits is not None and image[2][t] >= 0:
                value -= weights[3] * attribute_logits[q].double().softmax(-1)[image[2][t]]
            cost[q, t] = value
    return cost


@pytest.mark.parametrize("counts", [(3, 0, 5, 1), (0, 0), (1,), (7, 2), (6,)])
@pytest.mark.parametrize("with_attributes", [False, True])
def test_match_is_scipy_on_detrs_cost_of_each_image(counts, with_attributes) -> None:
    logits, boxes, images, attribute_logits = make_problem(counts, seed=sum(counts))
    attribute_logits = attribute_logits if with_attributes else None
    targets = ops.make_targets(images)
    matches = ops.match(logits, boxes, targets, attribute_logits=attribute_logits)
    assert matches.shape == (2, sum(counts))
    assert matches.dtype == torch.int64
    for layer in range(2):
        start = 0
        for image, annotation in enumerate(images):
            attributes = None if attribute_logits is None else attribute_logits[layer, image]
            cost = loop_cost(logits[layer, image], boxes[layer, image], annotation, attributes)
            queries, numbers = scipy_assignment(cost)
            expected = [-1] * counts[image]
            for query, number in zip(queries, numbers, strict=True):
                expected[number] = query
            assert matches[layer, start : start + counts[image]].tolist() == expected
            start += counts[image]


def test_weights_of_the_cost() -> None:
    logits, boxes, images, attribute_logits = make_problem((4,), layers=1, seed=3)
    targets = ops.make_targets(images)
    names = ("cost_class", "cost_bbox", "cost_giou", "cost_attribute")
    for weights in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (2, 3, 0.5, 7)):
        cost = torch.ops.vlp_fast.matching_cost(
            logits,
            boxes,
            targets.boxes,
            targets.labels,
            targets.attributes,
            targets.image_of,
            attribute_logits,
            *map(float, weights),
        )
        expected = loop_cost(logits[0, 0], boxes[0, 0], images[0], attribute_logits[0, 0], weights)
        np.testing.assert_allclose(cost[0].numpy(), expected.T, rtol=1e-5, atol=1e-5)
        matches = ops.match(
            logits,
            boxes,
            targets,
            attribute_logits=attribute_logits,
            **dict(zip(names, weights, strict=True)),
        )
        chosen = expected[matches[0], np.arange(4)].sum()
        assert chosen == pytest.approx(expected[scipy_assignment(expected)].sum(), abs=1e-5)


def test_more_targets_than_queries_leaves_some_over() -> None:
    logits, boxes, images, _ = make_problem((9, 2), queries=4)
    matches = ops.match(logits, boxes, ops.make_targets(images))
    for layer in matches:
        assert sorted(layer[:9].tolist()) == [-1] * 5 + [0, 1, 2, 3]
        assert (layer[9:] >= 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_broken_predictions_are_the_last_choice(value) -> None:
    logits, boxes, images, attribute_logits = make_problem((3, 2))
    targets = ops.make_targets(images)
    logits[0, 0, :2] = value
    boxes[1, 1, 3] = value
    attribute_logits[0, 1, 4, 0] = float("nan")
    matches = ops.match(logits, boxes, targets, attribute_logits=attribute_logits)
    assert (matches >= 0).all()
    assert not set(matches[0, :3].tolist()) & {0, 1}
    assert 3 not in matches[1, 3:].tolist()
    logits[:] = value
    everything = ops.match(logits, boxes * value, targets)
    assert all(len(set(row[:3].tolist())) == 3 for row in everything)


def test_half_precision_and_autocast_cost_as_float32() -> None:
    logits, boxes, images, _ = make_problem((4, 3), seed=2)
    logits, boxes = logits.bfloat16(), boxes.bfloat16()
    targets = ops.make_targets(images)
    expected = ops.match(logits.float(), boxes.float(), targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ops.match(logits, boxes, targets), expected)


def test_match_has_no_gradient() -> None:
    logits, boxes, images, _ = make_problem((2,))
    matches = ops.match(logits.requires_grad_(), boxes.requires_grad_(), ops.make_targets(images))
    assert not matches.requires_grad


def test_targets_are_packed_in_order() -> None:
    _, _, images, _ = make_problem((2, 0, 3))
    targets = ops.make_targets(images)
    assert targets.counts == (2, 0, 3)
    assert targets.cu_targets.tolist() == [0, 2, 2, 5]
    assert targets.cu_targets.dtype == torch.int32
    assert targets.image_of.tolist() == [0, 0, 2, 2, 2]
    assert torch.equal(targets.boxes[2:], images[2][0])
    assert torch.equal(targets.labels[:2], images[0][1])
    assert torch.equal(targets.attributes[2:], images[2][2])
    assert targets.to("meta").boxes.device.type == "meta"
    assert ops.make_targets([]).boxes.shape == (0, 4)


def test_wrong_input_is_refused() -> None:
    logits, boxes, images, attribute_logits = make_problem((2, 1))
    targets = ops.make_targets(images)
    with pytest.raises(ValueError, match="match: received logits"):
        ops.match(logits, boxes[:, :, :3], targets)
    with pytest.raises(ValueError, match="match: received attribute_logits"):
        ops.match(logits, boxes, targets, attribute_logits=attribute_logits[:1])
    with pytest.raises(ValueError, match="targets of 2 images, expected 1"):
        ops.match(logits[:, :1], boxes[:, :1], targets)
    with pytest.raises(ValueError, match="make_targets: received boxes"):
        ops.make_targets([(torch.zeros(2, 4), torch.zeros(3), torch.zeros(3))])
