"""The compiled extension: its presence and its boundary, at the example of the assignment."""

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
from torch import Tensor

from vlp_fast import native

HAS_COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
C = native.extension()
needs_native = pytest.mark.skipif(
    C is None and not HAS_COMPILER, reason="no C++ compiler, so no native code"
)


def assign(cost: Tensor, maximize: bool = False) -> Tensor:
    """The column of each row of one matrix."""
    assert C is not None
    column_of_row = torch.full((1, cost.shape[0]), -7)
    status = torch.full((1, 1), -7, dtype=torch.int8)
    C.assign(cost[None], None, column_of_row, status, maximize, 1)
    assert status.item() == 0
    return column_of_row[0]


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


def integers(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


@needs_native
@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("cost", torch.zeros(2, 3, 4).long(), "cost is int64, expected float32 or float64"),
        ("cost", torch.zeros(2, 3, 4).bfloat16(), "cost is bfloat16"),
        ("cost", torch.zeros(2, 3), r"cost has shape \(2, 3\), expected 3 dimensions"),
        ("num_rows", integers(0, 1).long(), "num_rows is int64, expected int32"),
        ("num_rows", integers(0), r"num_rows has shape \(1\), expected \(2\)"),
        ("num_rows", integers(1, 0, 1, 0)[::2], "num_rows is not contiguous"),
        ("num_rows", integers(1, 4), "problem 1 has the rows 0 to 4, expected .* within 0 to 3"),
        ("num_rows", integers(-1, 1), "problem 0 has the rows 0 to -1, expected an ascending"),
        ("column_of_row", torch.zeros(2, 3), "column_of_row is float32, expected int64"),
        ("column_of_row", torch.zeros(2, 2).long(), r"column_of_row has shape \(2, 2\)"),
        ("column_of_row", torch.zeros(2, 6).long()[:, ::2], "column_of_row is not contiguous"),
        ("status", torch.zeros(2, 1).long(), "status is int64, expected int8"),
        ("status", torch.zeros(2, 2).char(), r"status has shape \(2, 2\), expected \(2, 1\)"),
        ("status", torch.zeros(2).char(), r"status has shape \(2\), expected \(2, 1\)"),
    ],
)
def test_wrong_arguments_are_named(name: str, wrong: Tensor, message: str) -> None:
    assert C is not None
    arguments = {
        "cost": torch.zeros(2, 3, 4),
        "num_rows": integers(1, 3),
        "column_of_row": torch.zeros(2, 3).long(),
        "status": torch.zeros(2, 1).char(),
    }
    C.assign(**arguments, maximize=False, threads=1)
    with pytest.raises(ValueError, match=f"^assign: {message}"):
        C.assign(**(arguments | {name: wrong}), maximize=False, threads=1)


@needs_native
@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), [[1.0]], None])
def test_what_is_no_tensor_is_a_short_type_error(wrong: object) -> None:
    assert C is not None
    answers = (torch.zeros(1, 2).long(), torch.zeros(1, 1).char())
    with pytest.raises(TypeError, match=r"expected a torch\.Tensor") as caught:
        C.assign(wrong, None, *answers, False, 1)
    assert len(str(caught.value)) < 120


MATCH = {
    "logits": torch.zeros(1, 2, 3, 5),
    "boxes": torch.zeros(1, 2, 3, 4),
    "attribute_logits": torch.zeros(1, 2, 3, 2),
    "target_boxes": torch.zeros(4, 4),
    "labels": torch.zeros(4).long(),
    "attributes": torch.zeros(4).long(),
    "are_probabilities": False,
    "normaliser": torch.zeros(1, 2, 3),
    "attribute_normaliser": torch.zeros(1, 2, 3),
    "class_cost": 0,
    "weights": [1.0] * 6,
}


@needs_native
@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("logits", torch.zeros(1, 2, 3, 5).long(), "logits is int64, expected floating point"),
        ("logits", torch.zeros(2, 3, 5), r"logits has shape \(2, 3, 5\), expected 4 dimensions"),
        ("boxes", torch.zeros(1, 2, 2, 4), r"boxes has shape .* expected \(1, 2, 3, 4\)"),
        ("attribute_logits", torch.zeros(1, 2, 2, 4), "attribute_logits has shape"),
        ("target_boxes", torch.zeros(4, 4).double(), "target_boxes is float64, expected float32"),
        ("target_boxes", torch.zeros(4, 5), r"target_boxes has shape \(4, 5\), expected \(4, 4\)"),
        ("labels", torch.zeros(3).long(), r"column_of_row has shape \(1, 4\), expected \(1, 3\)"),
        ("labels", torch.zeros(4).int(), "labels is int32, expected int64"),
        ("labels", torch.zeros(8).long()[::2], "labels is not contiguous"),
        ("attributes", torch.zeros(3).long(), r"attributes has shape \(3\), expected \(4\)"),
        ("normaliser", torch.zeros(1, 2, 3).double(), "normaliser is float64, expected float32"),
        ("normaliser", torch.zeros(1, 2, 4), r"normaliser has shape \(1, 2, 4\)"),
        ("normaliser", None, "a normaliser is missing or too many"),
        ("attribute_normaliser", None, "a normaliser is missing or too many"),
        ("are_probabilities", True, "a normaliser is missing or too many"),
        ("class_cost", 1, "a normaliser is missing or too many"),
        ("class_cost", 3, "class_cost is 3, expected 0, 1 or 2"),
        ("weights", [1.0], "weights has 1 entries, expected 6"),
    ],
)
def test_wrong_predictions_are_named(name: str, wrong: object, message: str) -> None:
    assert C is not None
    answers = (integers(0, 1, 4), torch.zeros(1, 4).long(), torch.zeros(1, 2).bool())
    C.match(MATCH, *answers, 1)
    with pytest.raises(ValueError, match=f"^match: {message}"):
        C.match(MATCH | {name: wrong}, *answers, 1)
    with pytest.raises(ValueError, match=r"^match: cu_targets has shape"):
        C.match(MATCH, integers(0, 4), *answers[1:], 1)
    with pytest.raises(ValueError, match=r"^match: problem 1 has the rows 3 to 2"):
        C.match(MATCH, integers(0, 3, 2), *answers[1:], 1)


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
