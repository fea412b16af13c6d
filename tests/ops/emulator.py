"""The extension's CUDA functions on the CPU, compiled once for all processes of pytest."""

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache/cuda_on_cpu"
COMPILER = next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)


def load(arch: int) -> ModuleType:
    """csrc/cuda compiled as C++ for an architecture, 700 or 900, run by tests/cuda_on_cpu."""
    spec = importlib.util.spec_from_file_location("_C", built(arch))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(arch: int) -> Path:
    """The binary of today's sources; whoever comes second waits until it is there."""
    command = command_for(arch)
    binary = FOLDER / f"sm_{arch}_{digest_of(command)}.so"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"sm_{arch}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            for old in FOLDER.glob(f"sm_{arch}_*"):
                old.unlink()
            unfinished = binary.with_suffix(".unfinished")
            subprocess.run([*command, "-o", unfinished], check=True)
            unfinished.rename(binary)
    return binary


def command_for(arch: int) -> list[str]:
    """The compiler and its options, without the place of the binary."""
    import pybind11

    assert COMPILER is not None
    includes = [ROOT / "tests/cuda_on_cpu", ROOT / "csrc", pybind11.get_include()]
    includes += [sysconfig.get_path("include")]
    command = [COMPILER, "-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-w"]
    command += ["-include", "cuda_on_cpu.h", f"-D__CUDA_ARCH__={arch}"]
    return [*command, *(f"-I{path}" for path in includes), f"{ROOT}/tests/cuda_on_cpu/module.cpp"]


def digest_of(command: list[str]) -> str:
    """Hash of all that the binary is made of."""
    import pybind11

    version = subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout
    found = hashlib.sha256(repr((command, version, pybind11.__version__, sys.version)).encode())
    for folder in ("csrc", "tests/cuda_on_cpu"):
        for path in sorted((ROOT / folder).glob("**/*")):
            if path.is_file():
                found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]
