"""The compiled extension: its presence, its boundary, and its assignment against SciPy's."""

import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor

from vlp_fast import native

HAS_COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
C = native.extension()
needs_native = pytest.mark.skipif(
    C is None and not HAS_COMPILER, reason="no C++ compiler, so no native code"
)


def assign(cost: Tensor) -> Tensor:
    assert C is not None
    row_to_col = torch.full((cost.shape[0],), -7)
    C.linear_sum_assignment(cost, row_to_col)
    return row_to_col


def total(cost: np.ndarray, row_to_col: np.ndarray) -> float:
    rows = np.flatnonzero(row_to_col >= 0)
    return float(cost[rows, row_to_col[rows]].sum())


def assert_optimal(cost: np.ndarray) -> None:
    """A matching of full size whose total is SciPy's."""
    row_to_col = assign(torch.from_numpy(cost)).numpy()
    used = row_to_col[row_to_col >= 0]
    assert len(used) == len(set(used)) == min(cost.shape)
    assert total(cost, row_to_col) == pytest.approx(
        cost[scipy_assignment(cost)].sum(), rel=1e-12, abs=1e-9
    )


@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler")
def test_extension_is_built_where_a_compiler_is() -> None:
    assert C is not None, native.load().problem


@pytest.mark.skipif(C is None, reason="no native code")
def test_cuda_is_built_where_an_nvcc_is() -> None:
    assert C is not None
    info = C.build_info()
    if shutil.which("nvcc") and os.environ.get("VLP_FAST_CUDA") != "0":
        assert info["cuda"] is not None, info["cuda_note"]
        assert any(arch.startswith("sm_") for arch in info["cuda_archs"])
        assert info["cuda_archs"][-1].startswith("compute_"), "no PTX for newer GPUs"
    else:
        assert info["cuda"] is None or info["cuda_archs"]


@needs_native
def test_binary_links_neither_torch_nor_cudart() -> None:
    assert C is not None and C.__file__ is not None
    binary = Path(C.__file__).read_bytes()
    for library in (b"libtorch", b"libc10", b"libcudart.so"):
        assert library not in binary


@needs_native
def test_import_needs_no_torch() -> None:
    code = "import sys, vlp_fast._C as c; c.build_info(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_native
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
        elements=st.integers(-5, 5).map(float),
    )
)
@settings(max_examples=300, deadline=None)
def test_assignment_with_many_ties(cost: np.ndarray) -> None:
    assert_optimal(cost)


@needs_native
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (7, 1), (31, 31), (100, 17), (17, 100), (130, 97)]
)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_assignment_of_random_costs(shape: tuple[int, int], scale: float) -> None:
    cost = np.random.default_rng(0).normal(size=shape) * scale
    assert_optimal(cost)
    assert (assign(torch.from_numpy(cost)) >= 0).sum() == min(shape)


@needs_native
def test_assignment_takes_the_same_columns_as_scipy_without_ties() -> None:
    cost = np.random.default_rng(1).normal(size=(23, 40))
    assert assign(torch.from_numpy(cost)).tolist() == scipy_assignment(cost)[1].tolist()


@needs_native
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_assignment_of_nothing(shape: tuple[int, int]) -> None:
    assert assign(torch.empty(shape, dtype=torch.float64)).tolist() == [-1] * shape[0]


@needs_native
def test_assignment_avoids_infinite_costs() -> None:
    inf = float("inf")
    cost = torch.tensor([[1.0, inf, inf], [0.0, 5.0, inf], [0.0, 0.0, 9.0]], dtype=torch.float64)
    assert assign(cost).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="infeasible"):
        assign(torch.tensor([[inf, inf], [0.0, 1.0]], dtype=torch.float64))


@needs_native
@pytest.mark.parametrize("value", [float("nan"), -float("inf")])
def test_assignment_refuses_what_has_no_order(value: float) -> None:
    cost = torch.zeros(3, 4, dtype=torch.float64)
    cost[1, 2] = value
    with pytest.raises(ValueError, match="NaN or -inf"):
        assign(cost)


@needs_native
def test_assignment_reads_strides() -> None:
    cost = torch.from_numpy(np.random.default_rng(2).normal(size=(12, 20)))
    expected = assign(cost.clone())
    spread = torch.full((24, 60), float("nan"), dtype=torch.float64)
    spread[::2, ::3] = cost
    assert torch.equal(assign(spread[::2, ::3]), expected)
    assert torch.equal(assign(cost.t().contiguous().t()), expected)
    assert torch.equal(assign(spread[::2, ::3][4:]), assign(cost[4:].clone()))
    expanded = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64).expand(3, 3)
    assert sorted(assign(expanded).tolist()) == [0, 1, 2]


@needs_native
def test_assignment_of_float32_equals_that_of_its_float64() -> None:
    cost = torch.randn(30, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(assign(cost), assign(cost.double()))


@needs_native
@pytest.mark.parametrize(
    ("cost", "out", "message"),
    [
        (
            torch.zeros(2, 2, dtype=torch.int64),
            torch.zeros(2).long(),
            "cost is int64.*float32 or float64",
        ),
        (torch.zeros(2, 2, dtype=torch.bfloat16), torch.zeros(2).long(), "cost is bfloat16"),
        (torch.zeros(2), torch.zeros(2).long(), r"cost has shape \(2\), expected 2 dimensions"),
        (torch.zeros(2, 2), torch.zeros(2), "row_to_col is float32, expected int64"),
        (torch.zeros(2, 3), torch.zeros(3).long(), r"row_to_col has shape \(3\), expected \(2\)"),
        (torch.zeros(2, 2), torch.zeros(4).long()[::2], "row_to_col is not contiguous"),
        (torch.zeros(2, 2), torch.zeros(1).long().expand(2), "row_to_col is not contiguous"),
    ],
)
def test_wrong_arguments_are_named(cost: Tensor, out: Tensor, message: str) -> None:
    assert C is not None
    with pytest.raises(ValueError, match=message):
        C.linear_sum_assignment(cost, out)


@needs_native
@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), [[1.0]], None])
def test_what_is_no_tensor_is_a_short_type_error(wrong: object) -> None:
    assert C is not None
    with pytest.raises(TypeError, match=r"expected a torch\.Tensor") as caught:
        C.linear_sum_assignment(wrong, torch.zeros(2).long())
    assert len(str(caught.value)) < 120


@needs_native
def test_subclasses_and_parameters_are_tensors() -> None:
    class Marked(Tensor):
        pass

    cost = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    for other in (torch.nn.Parameter(cost), cost.as_subclass(Marked)):
        assert assign(other).tolist() == [1, 0]


@needs_native
def test_assignment_releases_the_gil() -> None:
    """Python runs on another thread in the middle of the solution of a large problem."""
    cost = torch.from_numpy(np.random.default_rng(3).normal(size=(1800, 1800)))
    span: list[float] = []

    def solve() -> None:
        span.append(time.perf_counter())
        assign(cost)
        span.append(time.perf_counter())

    worker = threading.Thread(target=solve)
    worker.start()
    turns = []
    while worker.is_alive():
        turns.append(time.perf_counter())
        time.sleep(0.0005)
    start, end = span
    margin = (end - start) / 5
    assert sum(start + margin < turn < end - margin for turn in turns) >= 3


@needs_native
@pytest.mark.skipif(not native.has_cuda(), reason="built without CUDA")
def test_probe_refuses_the_cpu() -> None:
    assert C is not None
    with pytest.raises(ValueError, match="tensor is on cpu, expected a CUDA device"):
        C.device_probe(torch.zeros(1))


@pytest.mark.gpu
def test_probe_runs_on_this_gpu_and_on_side_streams() -> None:
    assert C is not None
    tensor = torch.zeros(1, device="cuda")
    C.device_probe(tensor)
    with torch.cuda.stream(torch.cuda.Stream()):
        C.device_probe(tensor)
    torch.cuda.synchronize()


@pytest.mark.gpu
def test_probe_is_captured_by_a_graph() -> None:
    assert C is not None
    tensor = torch.zeros(1, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        C.device_probe(tensor)
    graph.replay()
    torch.cuda.synchronize()


def test_a_file_that_does_not_load_is_broken_not_missing(tmp_path: Path) -> None:
    """A damaged binary must not pass for one that was never built."""
    package = tmp_path / "vlp_fast"
    package.mkdir()
    source = Path(native.__file__)
    (package / "__init__.py").touch()
    shutil.copy(source, package / source.name)
    code = "from vlp_fast import native; print(native.load().is_broken, native.summary())"
    command = [sys.executable, "-P", "-S", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    missing = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert missing.stdout == "False not built\n"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    (package / f"_C{suffix}").write_bytes(b"\x7fELF truncated")
    broken = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert broken.stdout.startswith("True built, but does not load: ")
