"""The public assignment against SciPy: arrays and tensors, batches, ragged batches, refusals."""

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
        assert pairs[0].tolist() == sorted(set(pairs[0].tolist()))  # ties may choose other rows
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
    with pytest.raises(TypeError, match="complex"):
        ops.linear_sum_assignment(convert([[1j, 2.0], [3.0, 4.0]]))


def test_text_is_refused() -> None:
    with pytest.raises(TypeError, match="Cannot cast array data"):
        ops.linear_sum_assignment(np.array([["a", "b"]]))


@pytest.mark.parametrize("backend", ["reference", "cpp"])
@pytest.mark.parametrize("shape", [(5, 6, 4), (5, 4, 6), (5, 3, 3)])
def test_matrices_of_different_heights(shape, backend) -> None:
    cost = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    heights = [shape[1], 0, 2, 1, 3]
    for number, height in enumerate(heights):
        cost[number, height:] = float("nan")  # never read
    with ops.use(backend):
        rows, columns = ops.linear_sum_assignment(cost, num_rows=heights)
        again = ops.linear_sum_assignment(cost.numpy(), num_rows=heights)
    assert rows.shape == columns.shape == (5, min(shape[1:]))
    for number, height in enumerate(heights):
        expected = scipy_assignment(cost[number, :height].numpy())
        pairs = len(expected[0])
        assert rows[number].tolist() == [*expected[0], *[-1] * (rows.shape[1] - pairs)]
        assert columns[number].tolist() == [*expected[1], *[-1] * (rows.shape[1] - pairs)]
    assert np.array_equal(again[0], rows)
    assert np.array_equal(again[1], columns)


@pytest.mark.parametrize(
    ("num_rows", "message"),
    [
        ([1, 2], "expected 3 integers"),
        ([1.0, 2.0, 1.0], "torch.float64"),
        ([True, False, True], "torch.bool"),
        ([1, 5, 0], "from 0 to 5, expected 0 to 4"),
        (torch.tensor([0, -1, 0]), "from -1 to 0"),
    ],
)
def test_wrong_heights_are_refused(num_rows, message) -> None:
    with pytest.raises(ValueError, match=f"linear_sum_assignment: received num_rows.*{message}"):
        ops.linear_sum_assignment(torch.zeros(3, 4, 2), num_rows=num_rows)


def test_the_backends_agree() -> None:
    draw = torch.Generator().manual_seed(0)
    assert ops.backend_for("linear_sum_assignment", "cpu")[0] == "cpp"
    for shape in ((6, 9, 5), (6, 5, 9), (1, 7, 7), (2, 8)):
        cost = torch.randn(shape, generator=draw)
        for maximize in (False, True):
            with ops.use("reference"):
                expected = ops.linear_sum_assignment(cost, maximize)
            for found, wanted in zip(
                ops.linear_sum_assignment(cost, maximize), expected, strict=True
            ):
                assert torch.equal(found, wanted)
