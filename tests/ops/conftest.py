"""The native code's functions as tests call them: those of the CPU, and those of the GPU."""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

from vlp_fast import native

ROOT = Path(__file__).parents[2]
COMPILER = next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)


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


@pytest.fixture(scope="session", params=[700, 900], ids=["sm_70", "sm_90"])
def cuda_on_cpu(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ModuleType:
    """The extension's CUDA functions, run on the CPU as for this architecture."""
    if COMPILER is None or os.name != "posix":
        pytest.skip("no C++ compiler")
    return build_cuda_on_cpu(tmp_path_factory.mktemp("cuda_on_cpu"), request.param)


@pytest.fixture
def extension() -> ModuleType:
    """The extension, where it is built."""
    module = native.extension()
    if module is None:
        pytest.skip("no native code")
    return module
