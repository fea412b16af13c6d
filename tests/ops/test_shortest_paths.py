"""The assignment that CPU and GPU share, against SciPy: 10^5 problems of every kind.

`cpu` is the extension's function for the CPU. `gpu` is the source of the CUDA kernels, run on the
CPU by tests/cuda_on_cpu, once with the reductions of sm_70 and once with those of sm_90.
"""

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment

Costs = Callable[[np.random.Generator, int, int], np.ndarray]
Solve = Callable[..., "Solution"]

SOLVED, INFEASIBLE, INVALID = 0, 2, 3
on_gpu_source = pytest.mark.xdist_group("cuda_on_cpu")


class Solution(NamedTuple):
    """Column of each row (A, T), -1 for none; outcome of each problem (A, B)."""

    columns: np.ndarray
    status: np.ndarray


def solve(
    function: Callable[..., None], cost: np.ndarray, counts: list[int], *rest: int
) -> Solution:
    """Solve packed problems, cost (A, T, Q), as a batch of matrices with `counts` rows each."""
    layers, most = len(cost), max(counts, default=0)
    padded = np.full((layers * len(counts), most, cost.shape[2]), np.nan, dtype=cost.dtype)
    is_row = np.tile(np.arange(most) < np.array(counts, dtype=int)[:, None], (layers, 1))
    padded[is_row] = cost.reshape(is_row.sum(), cost.shape[2])
    columns = torch.full(padded.shape[:2], -7)
    status = torch.full((len(padded), 1), -7, dtype=torch.int8)
    heights = torch.tensor(counts * layers, dtype=torch.int32)
    function(torch.from_numpy(padded), heights, columns, status, *rest)
    assert (columns.numpy()[~is_row] == -7).all(), "rows of no problem were written"
    found = columns.numpy()[is_row].reshape(cost.shape[:2])
    return Solution(found, status.numpy().reshape(layers, len(counts)))


@pytest.fixture
def cpu(extension: ModuleType) -> Solve:
    """cpu(cost, counts, maximize=False, threads=1)."""
    return lambda cost, counts, maximize=False, threads=1: solve(
        extension.assign, cost, counts, maximize, threads
    )


@pytest.fixture
def gpu(cuda_on_cpu: ModuleType) -> Solve:
    """gpu(cost, counts, maximize=False)."""
    return lambda cost, counts, maximize=False: solve(
        cuda_on_cpu.assign_cuda, cost, counts, maximize
    )


def boxes(draw: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """DETR's kind of cost: distances of boxes, minus a probability."""
    targets, queries = draw.random((rows, 1, 4)), draw.random((1, columns, 4))
    return 5 * np.abs(targets - queries).sum(-1) - draw.random((rows, columns))


KINDS: dict[str, Costs] = {
    "uniform": lambda draw, n, m: draw.random((n, m)),
    "normal": lambda draw, n, m: draw.normal(size=(n, m)),
    "ties": lambda draw, n, m: draw.integers(-3, 4, (n, m)).astype(float),
    "two values": lambda draw, n, m: draw.integers(0, 2, (n, m)).astype(float),
    "all equal": lambda draw, n, m: np.full((n, m), draw.normal()),
    "queries alike": lambda draw, n, m: np.repeat(draw.normal(size=(n, 1)), m, 1),
    "targets alike": lambda draw, n, m: np.repeat(draw.normal(size=(1, m)), n, 0),
    "boxes": boxes,
    "ranges": lambda draw, n, m: draw.normal(size=(n, m)) * 10.0 ** draw.integers(-6, 7, (n, m)),
    "sums": lambda draw, n, m: draw.normal(size=(n, 1)) + draw.normal(size=(1, m)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_problems_have_scipys_total(kind: str, cpu: Solve) -> None:
    draw = np.random.default_rng(list(KINDS).index(kind))
    for _ in range(40):
        check_batch(cpu, kind, draw, most_rows=16, problems=250)


@on_gpu_source
@pytest.mark.parametrize("kind", KINDS)
def test_the_gpus_source_has_scipys_total(kind: str, gpu: Solve) -> None:
    draw = np.random.default_rng(list(KINDS).index(kind))
    for most_rows, problems in ((12, 200), (45, 20)):
        check_batch(gpu, kind, draw, most_rows=most_rows, problems=problems)


def check_batch(
    run: Solve, kind: str, draw: np.random.Generator, *, most_rows: int, problems: int
) -> None:
    columns = int(draw.integers(1, most_rows))
    counts = draw.integers(0, most_rows, problems).tolist()
    cost = KINDS[kind](draw, sum(counts), columns)[None]
    maximize = bool(draw.integers(2))
    found, status = run(cost, counts, maximize)
    assert (status == SOLVED).all()
    for stop, count in zip(np.cumsum(counts), counts, strict=True):
        part = slice(stop - count, stop)
        assert_optimal(cost[0, part], found[0, part], maximize=maximize)


def assert_optimal(cost: np.ndarray, found: np.ndarray, *, maximize: bool) -> None:
    rows = np.flatnonzero(found >= 0)
    assert len(set(found[rows])) == len(rows) == min(cost.shape)
    assert found[found < 0].tolist() == [-1] * (len(found) - len(rows))
    best = cost[scipy_assignment(cost, maximize)].sum()
    scale = np.abs(cost).max(initial=1e-300)
    assert abs(cost[rows, found[rows]].sum() - best) <= 1e-12 * scale * (1 + len(rows))


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (30, 1024), (1024, 30), (300, 300), (1, 2000)]
)
@pytest.mark.parametrize("kind", ["normal", "ties", "boxes", "targets alike"])
def test_large_problems(kind: str, rows: int, columns: int, cpu: Solve) -> None:
    cost = KINDS[kind](np.random.default_rng(5), rows, columns)
    found, status = cpu(cost[None], [rows])
    assert status.tolist() == [[SOLVED]]
    assert_optimal(cost, found[0], maximize=False)


@on_gpu_source
@pytest.mark.parametrize(("rows", "columns"), [(4, 1024), (1025, 6), (5, 1500), (129, 128)])
@pytest.mark.parametrize("kind", ["ties", "boxes"])
def test_large_problems_of_the_gpus_source(
    kind: str, rows: int, columns: int, cpu: Solve, gpu: Solve
) -> None:
    """A warp up to 1,024 columns, a block beyond; the same answer as the CPU's, tie for tie."""
    cost = KINDS[kind](np.random.default_rng(5), rows, columns)[None]
    assert np.array_equal(gpu(cost, [rows]).columns, cpu(cost, [rows]).columns)


@on_gpu_source
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_costs_without_room_in_shared_memory(
    dtype: type, cpu: Solve, gpu: Solve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small problems find room, larger ones of the same launch are read where they are."""
    monkeypatch.setenv("CUDA_ON_CPU_SHARED_BYTES", "2000")
    counts = [2, 30, 0, 11, 45]
    cost = np.random.default_rng(8).integers(0, 30, (2, sum(counts), 21)).astype(dtype)
    for maximize in (False, True):
        expected, found = cpu(cost, counts, maximize), gpu(cost, counts, maximize)
        assert np.array_equal(found.columns, expected.columns)
        assert np.array_equal(found.status, expected.status)


@on_gpu_source
def test_more_columns_than_shared_memory_are_refused(
    gpu: Solve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_ON_CPU_SHARED_BYTES", "2000")
    with pytest.raises(ValueError, match=r"90 columns need .* bytes of shared memory"):
        gpu(np.zeros((1, 2, 90)), [2])


@on_gpu_source
def test_the_gpus_source_breaks_ties_as_the_cpus(cpu: Solve, gpu: Solve) -> None:
    draw = np.random.default_rng(9)
    counts = draw.integers(0, 20, 60).tolist()
    for values in (2, 5, 50):
        cost = draw.integers(-values, values, (2, sum(counts), 33)).astype(np.float32)
        cost[cost == 0] *= draw.choice([-1, 1])  # zeros of both signs are one
        assert np.array_equal(gpu(cost, counts).columns, cpu(cost, counts).columns)


def test_the_same_columns_as_scipy_where_the_best_is_unique(cpu: Solve) -> None:
    cost = np.random.default_rng(1).normal(size=(3, 23, 40))
    found, _ = cpu(cost, [10, 0, 13])
    for layer, answers in zip(cost, found, strict=True):
        assert answers[:10].tolist() == scipy_assignment(layer[:10])[1].tolist()
        assert answers[10:].tolist() == scipy_assignment(layer[10:])[1].tolist()


def test_threads_change_nothing(cpu: Solve) -> None:
    draw = np.random.default_rng(3)
    counts = draw.integers(0, 60, 300).tolist()
    cost = draw.integers(0, 9, (4, sum(counts), 50)).astype(np.float32)
    alone, alone_status = cpu(cost, counts, threads=1)
    for threads in (2, 7):
        found, status = cpu(cost, counts, threads=threads)
        assert np.array_equal(found, alone)
        assert np.array_equal(status, alone_status)


def test_float32_is_solved_in_float64(cpu: Solve) -> None:
    cost = np.random.default_rng(4).normal(size=(1, 30, 30)).astype(np.float32)
    assert np.array_equal(cpu(cost, [30])[0], cpu(cost.astype(np.float64), [30])[0])


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_one_bad_problem_leaves_the_others_as_they_are(bad: float, cpu: Solve) -> None:
    cost = np.random.default_rng(6).normal(size=(2, 9, 5))
    expected, _ = cpu(cost, [3, 3, 3])
    cost[1, 4, 2] = bad
    found, status = cpu(cost, [3, 3, 3])
    assert status.tolist() == [[SOLVED] * 3, [SOLVED, INVALID, SOLVED]]
    assert found[1, 3:6].tolist() == [-1, -1, -1]
    expected[1, 3:6] = -1
    assert np.array_equal(found, expected)


def test_forbidden_pairs(cpu: Solve) -> None:
    inf = np.inf
    cost = np.array([[1.0, inf, inf], [0.0, 5.0, inf], [0.0, 0.0, 9.0]])
    assert cpu(cost[None], [3])[0].tolist() == [[0, 1, 2]]
    cost = np.array([[1.0, inf], [2.0, inf]])
    found, status = cpu(cost[None], [2])
    assert (found.tolist(), status.tolist()) == ([[-1, -1]], [[INFEASIBLE]])
    assert cpu(-cost[None], [2], maximize=True)[1].tolist() == [[INFEASIBLE]]
    assert cpu(-cost[None], [2], maximize=False)[1].tolist() == [[INVALID]]


@pytest.mark.parametrize("shape", [(0, 0, 5), (2, 0, 5), (2, 4, 0)])
def test_nothing_to_assign(shape: tuple[int, int, int], cpu: Solve) -> None:
    found, status = cpu(np.empty(shape), [shape[1]])
    assert (found == -1).all()
    assert (status == SOLVED).all()


@on_gpu_source
def test_bad_problems_of_the_gpus_source(cpu: Solve, gpu: Solve) -> None:
    draw = np.random.default_rng(10)
    counts = [3, 0, 7, 4, 1]
    for bad in (np.nan, np.inf, -np.inf):
        cost = draw.normal(size=(3, 15, 5))
        cost[draw.random(cost.shape) < 0.2] = bad
        for maximize in (False, True):
            expected, found = cpu(cost, counts, maximize), gpu(cost, counts, maximize)
            assert np.array_equal(found.columns, expected.columns)
            assert np.array_equal(found.status, expected.status)
            assert bad != np.nan or (found.status == INVALID).any()


@on_gpu_source
def test_long_searches_of_a_whole_block(cpu: Solve, gpu: Solve) -> None:
    """Targets that all want the same queries: many scans by eight warps, which drift apart."""
    for seed in range(20):
        draw = np.random.default_rng(seed)
        cost = np.repeat(draw.normal(size=(1, 1100)), 10, 0) + 1e-3 * draw.normal(size=(10, 1100))
        assert np.array_equal(gpu(cost[None], [10]).columns, cpu(cost[None], [10]).columns)


def test_prices_that_overflow_end_in_a_refusal(cpu: Solve) -> None:
    draw = np.random.default_rng(1382)
    shape = draw.integers(2, 14, 2)
    cost = (draw.random(shape) * 2 - 1) * 1.797e308
    assert cpu(cost[None], [len(cost)]).status.tolist() in ([[SOLVED]], [[INFEASIBLE]])


def test_the_same_without_threads_to_be_had(extension: ModuleType) -> None:
    """Memory for two more stacks, 64 threads asked for: the problems are solved all the same."""
    code = """
import resource, torch
from vlp_fast import native
size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
cost, columns = torch.rand(600, 60, 70), torch.full((600, 60), -7)
status = torch.zeros(600, 1, dtype=torch.int8)
resource.setrlimit(resource.RLIMIT_AS, (size + (200 << 20), size + (200 << 20)))
native.required().assign(cost, None, columns, status, False, 64)
assert (columns >= 0).all()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
