"""The assignment of arrays in any memory layout, of traced tensors, and of all kinds of heights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from vlp_fast import native, ops
from vlp_fast.ops import assignment

N, M = 5, 7
BACKENDS = ["reference", "cpp"]


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def field_of_records() -> np.ndarray:
    records = np.zeros((N, 5), dtype=[("a", "i1"), ("b", "f8")])
    records["b"] = numbers(N, 5)
    assert records["b"].strides == (45, 9)
    return records["b"]


def read_only() -> np.ndarray:
    array = numbers(N, M)
    array.flags.writeable = False
    return array


LAYOUTS: dict[str, Callable[[], np.ndarray]] = {
    "field of records": field_of_records,
    "rows backwards": lambda: numbers(N, M)[::-1],
    "columns backwards": lambda: numbers(N, M)[:, ::-1],
    "read only": read_only,
    "Fortran order": lambda: np.asfortranarray(numbers(N, M)),
    "every other": lambda: numbers(2 * N, 3 * M)[::2, ::3],
    "one row for all": lambda: np.broadcast_to(numbers(M), (N, M)),
    "one column for all": lambda: np.broadcast_to(numbers(N, 1), (N, M)),
    "one number for all": lambda: np.broadcast_to(1.5, (N, M)),
    "float32, backwards": lambda: numbers(N, M).astype("f4")[::-1, ::-1],
}


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_of_any_layout(kind: str, transposed: bool, backend: str) -> None:
    cost = LAYOUTS[kind]()
    cost = cost.T if transposed else cost
    expected = scipy_assignment(cost)
    with ops.use(backend):
        rows, columns = ops.linear_sum_assignment(cost)
        batch = ops.linear_sum_assignment(np.stack([cost, cost])[::-1])
    for found in ((rows, columns), (batch[0][1], batch[1][1])):
        assert len(set(found[0].tolist())) == len(set(found[1].tolist())) == min(cost.shape)
        if "for all" not in kind:  # there are ties
            assert [x.tolist() for x in found] == [x.tolist() for x in expected]
        assert cost[found].sum() == pytest.approx(cost[expected].sum())


@pytest.mark.parametrize("dearer", [0, 1])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_float64_tells_apart(dearer: int, backend: str) -> None:
    cost = np.ones((2, 2))
    cost[0, dearer] += 1e-9
    with ops.use(backend):
        for given in (cost, torch.from_numpy(cost), torch.from_numpy(cost)[None]):
            columns = ops.linear_sum_assignment(given)[1]
            assert columns.flatten().tolist() == [1 - dearer, dearer]


TRACERS: dict[str, Callable[..., Any]] = {
    "make_fx": lambda function, cost: make_fx(function)(cost),
    "make_fx of fake tensors": lambda function, cost: make_fx(function, tracing_mode="fake")(cost),
    "make_fx of symbols": lambda function, cost: make_fx(function, tracing_mode="symbolic")(cost),
    "make_fx of functionalize": lambda function, cost: make_fx(torch.func.functionalize(function))(
        cost
    ),
    "functionalize": lambda function, cost: torch.func.functionalize(function),
    "jit.trace": lambda function, cost: torch.jit.trace(function, cost),
    "compile": lambda function, cost: torch.compile(function, fullgraph=True, backend="aot_eager"),
    "export": lambda function, cost: torch.export.export(Wrapped(function), (cost,)).module(),
    "vmap": lambda function, cost: lambda one: tuple(x[0] for x in torch.vmap(function)(one[None])),
}


class Wrapped(torch.nn.Module):
    """A function as the module that some tracers want."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, cost: Tensor) -> Any:
        return self.function(cost)


@pytest.mark.parametrize("kind", TRACERS)
@pytest.mark.parametrize("shape", [(N, M), (M, N)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_traced_matrix_is_solved_in_the_graph(kind: str, shape, dtype) -> None:
    """What the trace was made with is not what the graph answers."""
    first, second = (torch.from_numpy(numbers(*shape, seed=s)).to(dtype) for s in (1, 2))
    traced = TRACERS[kind](lambda cost: ops.linear_sum_assignment(cost), first)
    for cost in (second, first):
        found = traced(cost)
        expected = scipy_assignment(cost.numpy())
        assert [x.tolist() for x in found] == [x.tolist() for x in expected]


class Named(Tensor):
    """A subclass that does nothing."""


def test_tensors_that_numpy_reads_otherwise() -> None:
    cost = torch.from_numpy(numbers(N, M))
    negative = torch.complex(torch.zeros_like(cost), -cost).conj().imag
    assert negative.is_neg()
    expected = scipy_assignment(cost.numpy())
    kinds = [negative, torch.nn.Parameter(cost), cost.as_subclass(Named)]
    for given in [*kinds, cost.clone().requires_grad_() * 1]:
        found = ops.linear_sum_assignment(given)
        assert [x.tolist() for x in found] == [x.tolist() for x in expected]


def test_a_tensor_without_values_has_an_answer_without() -> None:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fake = mode.from_tensor(torch.from_numpy(numbers(N, M)))
    for cost in (fake, torch.empty(N, M, device="meta")):
        for found in ops.linear_sum_assignment(cost):
            assert (type(found), found.device) == (type(cost), cost.device)
            assert (found.shape, found.dtype) == ((N,), torch.int64)


HEIGHTS = [N, 0, 3]
GIVEN: dict[str, Any] = {
    "list": HEIGHTS,
    "tuple": tuple(HEIGHTS),
    "uint8 array": np.array(HEIGHTS, np.uint8),
    "uint16 array": np.array(HEIGHTS, np.uint16),
    "int64 array": np.array(HEIGHTS),
    "reversed array": np.array(HEIGHTS[::-1])[::-1],
    "int8 tensor": torch.tensor(HEIGHTS, dtype=torch.int8),
    "uint8 tensor": torch.tensor(HEIGHTS, dtype=torch.uint8),
    "int32 tensor": torch.tensor(HEIGHTS, dtype=torch.int32),
    "int64 tensor, every other": torch.tensor(HEIGHTS).repeat_interleave(2)[::2],
}


def assert_heights(found: tuple[Tensor, Tensor], cost: Tensor, heights: list[int]) -> None:
    for number, height in enumerate(heights):
        expected = scipy_assignment(cost[number, :height].numpy())
        for ours, theirs in zip(found, expected, strict=True):
            assert ours[number].tolist() == [*theirs, *[-1] * (ours.shape[1] - len(theirs))]


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("backend", BACKENDS)
def test_heights_of_any_kind(kind: str, backend: str) -> None:
    cost = torch.from_numpy(numbers(len(HEIGHTS), N, M))
    with ops.use(backend):
        found = ops.linear_sum_assignment(cost, num_rows=GIVEN[kind])
        arrays = ops.linear_sum_assignment(cost.numpy(), num_rows=GIVEN[kind])
    assert_heights(found, cost, HEIGHTS)
    for ours, others in zip(arrays, found, strict=True):
        assert isinstance(ours, np.ndarray)
        assert np.array_equal(ours, others)


@pytest.mark.parametrize("nothing", [[], (), np.empty(0, np.int64), torch.empty(0).long()])
def test_heights_of_no_matrix(nothing: Any) -> None:
    rows, columns = ops.linear_sum_assignment(torch.empty(0, N, M), num_rows=nothing)
    assert rows.shape == columns.shape == (0, N)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_one_matrix_has_no_heights(convert: Callable[[np.ndarray], Any]) -> None:
    for num_rows in ([N], [], N, torch.tensor([2])):
        with pytest.raises(ValueError, match="received num_rows with one matrix"):
            ops.linear_sum_assignment(convert(numbers(N, M)), num_rows=num_rows)


def compiled(*, fullgraph: bool = True) -> Callable[[Tensor, Any], tuple[Tensor, Tensor]]:
    torch.compiler.reset()
    solve = lambda cost, heights: ops.linear_sum_assignment(cost, num_rows=heights)
    return torch.compile(solve, fullgraph=fullgraph, backend="aot_eager")


@pytest.mark.parametrize("kind", [kind for kind in GIVEN if "reversed" not in kind])
def test_heights_in_a_compiled_function(kind: str) -> None:
    """Tensors are part of the graph; what else there is may break it."""
    cost = torch.from_numpy(numbers(len(HEIGHTS), N, M))
    solve = compiled(fullgraph="tensor" in kind)
    assert_heights(solve(cost, GIVEN[kind]), cost, HEIGHTS)


OUTSIDE, CLIPPED = torch.tensor([N + 1, -1, 2, 2**31 + 3, -(2**40)]), [N, 0, 2, N, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_heights_that_a_graph_cannot_check_are_clipped(backend: str) -> None:
    cost = torch.from_numpy(numbers(len(CLIPPED), N, M))
    with ops.use(backend):
        assert_heights(compiled()(cost, OUTSIDE), cost, CLIPPED)


@pytest.mark.xdist_group("cuda_on_cpu")
def test_heights_are_clipped_for_the_gpus_source(cuda_on_cpu, monkeypatch) -> None:
    monkeypatch.setattr(native, "required", lambda: cuda_on_cpu)
    monkeypatch.setitem(assignment._assign.backends, "cuda", assignment._on_device)
    cost = torch.from_numpy(numbers(len(CLIPPED), N, M))
    with ops.use("cuda"):
        assert_heights(compiled()(cost, OUTSIDE), cost, CLIPPED)


@pytest.mark.gpu
def test_heights_on_a_gpu_are_clipped() -> None:
    cost = torch.from_numpy(numbers(len(CLIPPED), N, M))
    found = ops.linear_sum_assignment(cost.cuda(), num_rows=OUTSIDE.cuda())
    assert_heights((found[0].cpu(), found[1].cpu()), cost, CLIPPED)
