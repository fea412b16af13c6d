"""The extension's CUDA functions on the CPU, compiled once for all processes of pytest.

What says the same to every architecture is compiled once for all of these, too.
"""

import fcntl
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType

from compile_once import read

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache/cuda_on_cpu"
COMPILER = next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)
SOURCES = ("module.cpp", "matching.cpp")
PLACES = (ROOT / "tests/cuda_on_cpu", ROOT / "csrc")
OLDEST = 700
ASKS_WHICH = re.compile(r"^\s*#.*__CUDA_ARCH__\s*[<>=!]", re.MULTILINE)


def load(arch: int) -> ModuleType:
    """csrc/cuda compiled as C++ for an architecture, 700 or 900, run by tests/cuda_on_cpu."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits until it is there
        binary = built(arch)
    spec = importlib.util.spec_from_file_location("_C", binary)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(arch: int) -> Path:
    """The binary of today's sources."""
    binary = FOLDER / f"sm_{arch}_{digest()}.so"
    if not binary.exists():
        run_compiler(binary, "-shared", *(object_of(source, arch) for source in SOURCES))
    return binary


def object_of(source: str, arch: int) -> Path:
    """What a source is compiled to for an architecture, or for all if it does not ask which."""
    path = ROOT / "tests/cuda_on_cpu" / source
    texts: dict[str, str] = {}
    read(source, path, PLACES, texts)
    arch = arch if any(map(ASKS_WHICH.search, texts.values())) else OLDEST
    compiled = FOLDER / f"{path.stem}_{arch}_{digest()}.o"
    if not compiled.exists():
        run_compiler(compiled, "-c", f"-D__CUDA_ARCH__={arch}", path)
    return compiled


def run_compiler(out: Path, *words: str | Path) -> None:
    """Compile or link; `out` takes the place of older ones when it is whole."""
    unfinished = out.with_suffix(".unfinished")
    subprocess.run([*command(), *words, "-o", unfinished], check=True)
    for old in FOLDER.glob(f"{out.stem.rpartition('_')[0]}_*{out.suffix}"):
        old.unlink()
    unfinished.rename(out)


@cache
def command() -> tuple[str, ...]:
    """The compiler and its options for every source."""
    import pybind11

    assert COMPILER is not None
    includes = [*PLACES, pybind11.get_include(), sysconfig.get_path("include")]
    options = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-w", "-U_FORTIFY_SOURCE")
    return (COMPILER, *options, "-include", "cuda_on_cpu.h", *(f"-I{path}" for path in includes))


@cache
def digest() -> str:
    """Hash of all that the binaries are made of."""
    import pybind11

    version = subprocess.run([command()[0], "--version"], capture_output=True, check=True).stdout
    told = (command(), version, pybind11.__version__, sys.version)
    found = hashlib.sha256(repr(told).encode())
    for folder in PLACES:
        for path in sorted(folder.glob("**/*")):
            if path.is_file():
                found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]
