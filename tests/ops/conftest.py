"""The native code's functions as tests call them: those of the CPU, and those of the GPU."""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from vlp_fast import native, ops
from vlp_fast.ops.backends import but_float64
from vlp_fast.reference import attention, dictionary

ROOT = Path(__file__).parents[2]
COMPILER = next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)


DICTIONARY = (
    "nearest_code",
    "prepare_codes",
    "gather_codes",
    "code_statistics",
    "ema_update",
    "laplace_ema_update",
)


ATTENTION = ("attention", "attention_backward")


def backends_of(operator: str, device_module: str) -> list[object]:
    """Those that this machine can run, one way or the other; `cuda` if its launcher is written."""
    found: list[object] = [
        name
        for name in ("reference", "torch", "cpp", "triton")
        if name in ops.operators()[operator].backends
    ]
    if find_spec(f"vlp_fast.ops.{device_module}") is not None:
        found.append(pytest.param("cuda", marks=pytest.mark.xdist_group("cuda_on_cpu")))
    return found


def build_cuda_on_cpu(folder: Path, arch: int) -> ModuleType:
    """Compile csrc/cuda as C++, kernels run by tests/cuda_on_cpu, and import it."""
    import pybind11

    assert COMPILER is not None
    binary = folder / "_C.so"
    includes = [ROOT / "tests/cuda_on_cpu", ROOT / "csrc", pybind11.get_include()]
    includes += [sysconfig.get_path("include")]
    command = [COMPILER, "-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-w"]
    command += [
        "-include",
        "cuda_on_cpu.h",
        f"-D__CUDA_ARCH__={arch}",
        *(f"-I{path}" for path in includes),
    ]
    subprocess.run([*command, ROOT / "tests/cuda_on_cpu/module.cpp", "-o", binary], check=True)
    spec = importlib.util.spec_from_file_location("_C", binary)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cuda_modules(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], ModuleType]:
    """cuda_modules(900): the extension's CUDA functions, run on the CPU as for an architecture."""
    if COMPILER is None or os.name != "posix":
        pytest.skip("no C++ compiler")
    return cache(lambda arch: build_cuda_on_cpu(tmp_path_factory.mktemp(f"sm_{arch}"), arch))


@pytest.fixture(params=[700, 900], ids=["sm_70", "sm_90"])
def cuda_on_cpu(
    request: pytest.FixtureRequest, cuda_modules: Callable[[int], ModuleType]
) -> ModuleType:
    """The extension's CUDA functions, run on the CPU as for this architecture."""
    return cuda_modules(request.param)


@pytest.fixture
def emulate_cuda(
    cuda_modules: Callable[[int], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """emulate_cuda(names, definitions, module): operators on `cuda`, its source run on the CPU."""

    def emulate(names: Iterable[str], definitions: ModuleType, module: str) -> None:
        extension = cuda_modules(700)
        monkeypatch.setattr(native, "required", lambda: extension)
        device = import_module(f"vlp_fast.ops.{module}")
        for name in names:
            definition = getattr(definitions, name)
            implementation = but_float64(getattr(device, name, definition), definition)
            monkeypatch.setitem(ops.operators()[name].backends, "cuda", implementation)

    return emulate


@pytest.fixture(params=backends_of("nearest_code", "dictionary_device"))
def dictionary_backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every operator of the dictionary on one backend; `cuda` is its source, run on the CPU."""
    if request.param == "cuda":
        emulate = request.getfixturevalue("emulate_cuda")
        emulate(DICTIONARY, dictionary, "dictionary_device")
    with ops.use(request.param):
        yield request.param


@pytest.fixture(params=backends_of("attention", "attention_device"))
def attention_backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Attention and its backward pass on one backend; `cuda` is its source, run on the CPU."""
    if request.param == "cuda":
        emulate = request.getfixturevalue("emulate_cuda")
        emulate(ATTENTION, attention, "attention_device")
    with ops.use(request.param):
        yield request.param


@pytest.fixture(params=["reference", "triton"])
def block_backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Operators of a Transformer's block on one backend; Triton's programs are interpreted."""
    if request.param not in ops.operators()["residual_norm"].backends:
        pytest.skip("no Triton")
    with ops.use(request.param):
        yield request.param


@pytest.fixture
def extension() -> ModuleType:
    """The extension, where it is built."""
    module = native.extension()
    if module is None:
        pytest.skip("no native code")
    return module
