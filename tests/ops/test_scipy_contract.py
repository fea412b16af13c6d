"""`linear_sum_assignment` keeps SciPy's contract: SciPy's own tests, and SciPy itself as oracle."""

import inspect
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse
from scipy.optimize import linear_sum_assignment as scipy_assignment
from scipy.optimize.tests import test_linear_assignment as scipys_tests
from scipy.sparse import csgraph

import vlp_fast
from vlp_fast import ops
from vlp_fast.ops.registry import preferred_backends

OPERATOR = ops.operators()["linear_sum_assignment"]
BACKENDS = [name for name in preferred_backends("cpu", (0, 0)) if name in OPERATOR.backends]
INF, NAN = np.inf, np.nan


def calls_of(test: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """The arguments of every run that pytest would make of a test."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    for chosen in product(*(mark.args[1] for mark in marks)):
        call: dict[str, Any] = {}
        for mark, values in zip(marks, chosen, strict=True):
            names = [name.strip() for name in mark.args[0].split(",")]
            call |= zip(names, values if len(names) > 1 else [values], strict=True)
        yield call


SCIPYS_CALLS = [
    pytest.param(name, call, id=f"{name.removeprefix('test_')}-{number}")
    for name, test in inspect.getmembers(scipys_tests, inspect.isfunction)
    if name.startswith("test_")
    for number, call in enumerate(calls_of(test))
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "call"), SCIPYS_CALLS)
def test_scipys_own_tests(
    name: str, call: dict[str, Any], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        swapped.append(name)
        return vlp_fast.linear_sum_assignment(*args, **kwargs)

    monkeypatch.setattr(scipys_tests, "linear_sum_assignment", counted)
    with ops.use(backend):
        getattr(scipys_tests, name)(**call)
    assert swapped, "the test has not called it"


def test_all_of_scipys_own_tests_are_run() -> None:
    """11 tests of SciPy 1.17, two of them with parameters: 22 runs."""
    names = [call.values[0] for call in SCIPYS_CALLS]
    assert len(set(names)) >= 11
    assert len(names) >= 22
    assert "test_linear_sum_assignment_small_inputs" in names


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What comes back, or the exception."""
    try:
        return function(*args, **kwargs)
    except (ValueError, TypeError) as problem:
        return problem


def assert_same(cost: Any, found: Any, expected: Any) -> None:
    """The same refusal, or an assignment as good; ours may say more than SciPy's message."""
    if isinstance(expected, Exception):
        assert type(found) is type(expected), f"received {found!r}, expected {expected!r}"
        assert str(expected) in str(found)
        return
    assert isinstance(found, tuple), f"received {found!r}, expected {expected!r}"
    for ours, theirs in zip(found, expected, strict=True):
        assert type(ours) is np.ndarray
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    rows, columns = found
    assert rows.tolist() == sorted(set(rows.tolist()))  # ties may choose other rows than SciPy's
    assert len(set(columns.tolist())) == len(columns)
    assert min([*rows, *columns], default=0) >= 0
    matrix = np.asarray(cost, dtype=np.float64)
    best, scale = matrix[expected].sum(), np.abs(matrix[expected]).sum()
    assert matrix[found].sum() == pytest.approx(best, rel=0, abs=1e-12 * scale)


def matrices(*, ndim: int = 2, largest: int = 6) -> st.SearchStrategy[np.ndarray]:
    """Arrays of the dtypes SciPy takes, of few values so that totals tie, some of them refused."""
    floats = [np.float16, np.float32, np.float64]
    integers = [np.bool_, np.int8, np.uint8, np.int32, np.int64, np.uint64]
    shapes = st.tuples(*[st.integers(0, largest)] * ndim)
    ordinary = st.integers(-3, 3).map(float) | st.floats(-1e3, 1e3, width=16)
    odd = st.sampled_from([*range(-3, 4), INF, INF, -INF, NAN]).map(float)
    return st.one_of(
        *(arrays.arrays(dtype, shapes, elements=ordinary) for dtype in floats),
        *(arrays.arrays(dtype, shapes, elements=odd) for dtype in floats),
        *(arrays.arrays(dtype, shapes) for dtype in integers),
    )


many = settings(max_examples=300, deadline=None)
on_each_backend = pytest.mark.parametrize("backend", BACKENDS)


@on_each_backend
@many
@given(matrices(), st.booleans())
def test_a_matrix_of_any_dtype(backend: str, cost: np.ndarray, maximize: bool) -> None:
    with ops.use(backend):
        found = outcome(vlp_fast.linear_sum_assignment, cost, maximize)
    assert_same(cost, found, outcome(scipy_assignment, cost, maximize))


@on_each_backend
@settings(many, suppress_health_check=[HealthCheck.filter_too_much])
@given(matrices(ndim=3, largest=4), st.booleans())
def test_a_batch_is_a_loop_of_scipy(backend: str, cost: np.ndarray, maximize: bool) -> None:
    expected = [outcome(scipy_assignment, matrix, maximize) for matrix in cost]
    with ops.use(backend):
        found = outcome(vlp_fast.linear_sum_assignment, cost, maximize)
    problems = {str(one) for one in expected if isinstance(one, Exception)}
    if problems:
        assert type(found) is ValueError
        assert any(problem in str(found) for problem in problems)
        return
    assert found[0].shape == found[1].shape == (len(cost), min(cost.shape[1:]))
    for number, matrix in enumerate(cost):
        assert_same(matrix, (found[0][number], found[1][number]), expected[number])


ARRAY_LIKE: dict[str, Any] = {
    "list": [[4, 1, 3], [2, 0, 5], [3, 2, 2]],
    "tuple": ((4, 1), (2, 0)),
    "ranges": [range(3), range(2, 5)],
    "booleans in lists": [[True, False], [False, True]],
    "fractions": [[Fraction(1, 2), Fraction(1, 3)], [Fraction(1, 5), 2]],
    "decimals": [[Decimal(1), Decimal(2)]],
    "integers beyond 64 bits": [[10**30, 1], [2, 3]],
    "None in a list": [[None, 1], [2, 3]],
    "numbers as text in a list": [["1", "2"], ["3", "5"]],
    "words in a list": [["a", "b"]],
    "ragged": [[1, 2], [3]],
    "rows of tensors": [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])],
    "numpy.matrix": np.asmatrix([[4, 1, 3], [2, 0, 5]]),
    "masked array": np.ma.masked_array([[1.0, 2], [3, 4]], mask=[[1, 0], [0, 1]]),
    "big endian": np.arange(6.0).reshape(2, 3).astype(">f8"),
    "Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "text": np.eye(3).astype(str),
    "bytes": np.eye(2).astype("S"),
    "objects": np.eye(2).astype(object),
    "records": np.zeros((2, 2), dtype=[("cost", float)]),
    "complex": np.eye(2) * 1j,
    "long double": np.eye(2, dtype=np.longdouble),
    "dates": np.eye(2).astype("datetime64[s]"),
    "durations": np.eye(2).astype("timedelta64[s]"),
    "sparse matrix": sparse.csr_matrix(np.eye(3)),
    "sparse array": sparse.coo_array(np.eye(3)),
    "word": "abc",
    "dictionary": {},
    "no rows": np.empty((0, 3)),
    "no columns": np.empty((3, 0)),
    "one empty row": [[]],
    "invalid and infeasible": [[INF, NAN], [INF, 1.0]],
    "infeasible": [[1.0, INF], [2.0, INF]],
    "one way out": [[1.0, INF], [2.0, 300.0]],
    "forbidden in a wide matrix": [[INF, INF, 1.0], [INF, 2.0, 0.0]],
    "forbidden in a tall matrix": [[INF], [3.0], [INF]],
}


@on_each_backend
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("kind", ARRAY_LIKE)
def test_what_is_taken_and_what_is_refused(kind: str, maximize: bool, backend: str) -> None:
    cost = ARRAY_LIKE[kind]
    expected = outcome(scipy_assignment, cost, maximize)
    with ops.use(backend):
        found = outcome(vlp_fast.linear_sum_assignment, cost, maximize)
    assert_same(cost, found, expected)


@pytest.mark.parametrize("cost", [3.0, None, [], [1, 2, 3], np.zeros((1, 1, 1, 1))], ids=repr)
def test_neither_a_matrix_nor_a_batch(cost: Any) -> None:
    expected, found = (
        outcome(function, cost) for function in (scipy_assignment, vlp_fast.linear_sum_assignment)
    )
    assert type(found) is type(expected) is ValueError
    assert "expected a matrix" in str(expected)
    assert "expected a matrix" in str(found)


def test_the_arguments_are_scipys() -> None:
    cost = np.array([[1.0, 2.0], [3.0, 5.0]])
    for function in (scipy_assignment, vlp_fast.linear_sum_assignment):
        assert function(cost)[1].tolist() == [1, 0]
        assert function(cost, maximize=True)[1].tolist() == [0, 1]
        assert function(cost, 1)[1].tolist() == [0, 1]
        assert function(cost, maximize=None)[1].tolist() == [1, 0]
        for wrong in ((), (cost, True, 3)):
            with pytest.raises(TypeError):
                function(*wrong)


def test_the_argument_is_left_alone() -> None:
    for cost in (np.array([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[1.0, 2.0], [3.0, 5.0]])):
        before = np.asarray(cost).copy()
        for maximize in (False, True):
            vlp_fast.linear_sum_assignment(cost, maximize)
        assert np.array_equal(cost, before)


TENSOR_DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool]
TENSOR_DTYPES += [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


@on_each_backend
@settings(many, max_examples=100)
@given(
    cost=arrays.arrays(np.int8, st.tuples(*[st.integers(0, 5)] * 3)),
    dtype=st.sampled_from(TENSOR_DTYPES),
    layout=st.sampled_from(["plain", "transposed", "every other", "expanded", "with gradient"]),
    maximize=st.booleans(),
)
def test_tensors(
    backend: str, cost: np.ndarray, dtype: torch.dtype, layout: str, maximize: bool
) -> None:
    tensor = laid_out(torch.from_numpy(cost).to(dtype), layout)
    numbers = tensor.detach().double().numpy()
    with ops.use(backend):
        batch = vlp_fast.linear_sum_assignment(tensor, maximize)
        singles = [vlp_fast.linear_sum_assignment(one, maximize) for one in tensor]
    for pairs in (batch, *singles):
        assert all(one.dtype == torch.int64 and not one.requires_grad for one in pairs)
    assert batch[0].shape == batch[1].shape == (len(numbers), min(numbers.shape[1:]))
    for number, matrix in enumerate(numbers):
        expected = scipy_assignment(matrix, maximize)
        for rows, columns in ((batch[0][number], batch[1][number]), singles[number]):
            assert_same(matrix, (rows.numpy(), columns.numpy()), expected)


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The same kind of numbers in memory that is not contiguous, or in a graph."""
    if layout == "transposed":
        return tensor.transpose(1, 2)
    if layout == "every other":
        return tensor[:, ::2, 1::2]
    if layout == "expanded":
        return tensor[:1].expand(3 * len(tensor[:1]), -1, -1)
    if layout == "with gradient" and tensor.is_floating_point():
        return tensor.requires_grad_()
    return tensor


@on_each_backend
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_are_refused_as_arrays_are(backend: str, dtype: torch.dtype) -> None:
    for maximize, cost in product(
        (False, True), ([[1.0, NAN]], [[INF, 1], [INF, 2]], [[-INF, 1], [-INF, 2]])
    ):
        expected = outcome(scipy_assignment, cost, maximize)
        tensor = torch.tensor(cost, dtype=dtype)
        for shaped in (tensor, tensor[None].expand(2, -1, -1)):
            with ops.use(backend):
                found = outcome(vlp_fast.linear_sum_assignment, shaped, maximize)
            assert type(found) is ValueError
            assert str(expected) in str(found)
    refused = outcome(vlp_fast.linear_sum_assignment, torch.eye(2, dtype=torch.complex64))
    assert type(refused) is type(outcome(scipy_assignment, np.eye(2) * 1j)) is TypeError


@on_each_backend
def test_a_larger_sparse_problem_agrees_with_another_algorithm(backend: str) -> None:
    """Against SciPy's matching of sparse graphs, which is not the algorithm of the other tests."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        cost = np.where(draw.random((60, 80)) < 0.15, draw.integers(1, 50, (60, 80)), INF)
        graph = sparse.csr_array(np.where(np.isinf(cost), 0, cost))
        expected = outcome(csgraph.min_weight_full_bipartite_matching, graph)
        with ops.use(backend):
            found = outcome(vlp_fast.linear_sum_assignment, cost)
        assert isinstance(found, Exception) == isinstance(expected, Exception)
        if not isinstance(expected, Exception):
            assert cost[found].sum() == cost[expected].sum()
