"""Build of ``vlp_fast._C``: hands the one extension to CMake and decides what happens without it.

Runs in pip's isolated environment, without torch. A compiler or an nvcc that is missing or broken
costs the native code, never the installation: one line says so and the package falls back.

Environment:
    CUDACXX: the nvcc to use, instead of the one on PATH or in /usr/local/cuda.
    VLP_FAST_CUDA: 0 leaves CUDA out; 1 makes its absence an error.
    CUDAARCHS: CMake's own list of architectures, instead of the one chosen here.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
MAPPED = {
    "vlp_fast.kernels": "kernels",
    "vlp_fast.benchmarks": "benchmarks",
    "vlp_fast.benchmarks.latency": "benchmarks/latency",
    "vlp_fast.benchmarks.step": "benchmarks/step",
}
RELEASE_ARCHS = (70, 75, 80, 86, 89, 90, 100, 120)
REPAIR = "see `vlp-fast doctor`"


class BuildError(Exception):
    """Native code could not be built; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Nvcc:
    """A CUDA compiler that answers, and the architectures it knows."""

    path: Path
    archs: tuple[int, ...]


class CMakeBuild(build_ext):
    """Configures and builds with CMake; CMakeLists.txt owns the flags."""

    def run(self) -> None:
        """Build; setuptools clears `inplace` for the time being and copies the result itself."""
        self.is_for_this_machine = bool(self.inplace)
        super().run()

    def build_extension(self, ext: Extension) -> None:
        """Build with CUDA where possible, without it where not, and nothing at worst."""
        mode = os.environ.get("VLP_FAST_CUDA", "")
        if mode not in ("", "0", "1"):
            raise SystemExit(f"vlp_fast: VLP_FAST_CUDA={mode!r}, expected 0, 1 or unset")
        try:
            self.build_native(ext, mode)
        except BuildError as error:
            if mode == "1" or self.is_make_ext():
                raise SystemExit(f"vlp_fast: {error}") from None
            say(f"installed without native code ({error}); slower kernels take over, {REPAIR}")
            (ROOT / self.get_ext_filename(ext.name)).unlink(missing_ok=True)  # an earlier build's

    def build_native(self, ext: Extension, mode: str) -> None:
        """Try CUDA unless it is turned off; then C++ alone unless CUDA is demanded."""
        if mode == "0":
            self.cmake(ext, ["-DVLP_CUDA=OFF", "-DVLP_CUDA_NOTE=left out by VLP_FAST_CUDA=0"])
            return
        try:
            visible = visible_archs() if self.is_for_this_machine else ()
            self.cmake(ext, cuda_options(find_nvcc(), visible))
        except BuildError as error:
            if mode == "1":
                raise
            self.cmake(ext, ["-DVLP_CUDA=OFF", f"-DVLP_CUDA_NOTE={error}"])
            say(f"built without CUDA kernels ({error}); {REPAIR}")

    def cmake(self, ext: Extension, options: Sequence[str]) -> None:
        """Configure from scratch what an earlier attempt may have left, and build."""
        build = Path(self.build_temp).resolve() / "cmake"
        (build / "CMakeCache.txt").unlink(missing_ok=True)
        out = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        run = [find_tool("cmake"), "-S", str(ROOT), "-B", str(build), "-GNinja"]
        run += [f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}", "-DCMAKE_BUILD_TYPE=Release"]
        run += [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11_dir()}"]
        run += [f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={out}", *options]
        stream(run, "CMake found no working compiler")
        stream([run[0], "--build", str(build)], "compilation failed, see above")

    def is_make_ext(self) -> bool:
        """True for `setup.py build_ext --inplace`: whoever works on csrc/ wants the error."""
        return bool(self.distribution.commands == ["build_ext"])


def find_nvcc() -> Nvcc:
    """Return the CUDA compiler, or raise BuildError saying what is wrong with it."""
    named = os.environ.get("CUDACXX")
    usual = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin", "nvcc")
    path = shutil.which(named) if named else shutil.which("nvcc") or shutil.which(usual)
    if path is None:
        raise BuildError(f"CUDACXX={named} is not a program" if named else "no nvcc found")
    try:
        answer = subprocess.run(
            [path, "--list-gpu-arch"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        raise BuildError(f"{path} is broken: it does not answer --list-gpu-arch") from None
    archs = [word.removeprefix("compute_") for word in answer.stdout.split()]
    known = tuple(sorted(int(arch) for arch in archs if arch.isdigit()))
    if not known:
        raise BuildError(f"{path} is broken: it lists no architecture")
    return Nvcc(path=Path(path), archs=known)


def visible_archs() -> tuple[int, ...]:
    """Compute capabilities of this machine's GPUs, as 80, 90, ...; empty without a driver."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    digits = {word.replace(".", "") for word in answer.stdout.split()}
    return tuple(sorted(int(word) for word in digits if word.isdigit()))


def choose_archs(known: Sequence[int], visible: Sequence[int]) -> list[str]:
    """CMake's architecture list: the visible GPUs' if nvcc knows them all, else every release's.

    Every entry is machine code only, but for the last, which carries PTX too: GPUs newer than the
    toolkit then compile it at first use.
    """
    chosen = list(visible) if visible and set(visible) <= set(known) else []
    chosen = chosen or [arch for arch in RELEASE_ARCHS if arch in known] or [max(known)]
    return [*(f"{arch}-real" for arch in chosen[:-1]), str(chosen[-1])]


def cuda_options(nvcc: Nvcc, visible: Sequence[int]) -> list[str]:
    """CMake's options for a build with this nvcc; CUDAARCHS, CMake's own variable, wins."""
    options = ["-DVLP_CUDA=ON", "-DVLP_CUDA_NOTE=", f"-DCMAKE_CUDA_COMPILER={nvcc.path}"]
    if "CUDAARCHS" not in os.environ:
        archs = choose_archs(nvcc.archs, visible)
        options.append(f"-DCMAKE_CUDA_ARCHITECTURES={';'.join(archs)}")
    return options


def find_tool(name: str) -> str:
    """Path of cmake or ninja: beside this Python (pip puts them there) or on PATH."""
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if path is None:
        raise BuildError(f"no {name} found")
    return path


def pybind11_dir() -> str:
    """Folder of pybind11's CMake files."""
    import pybind11  # a build requirement: absent while setuptools only asks for metadata

    return str(pybind11.get_cmake_dir())


def stream(command: Sequence[str], failure: str) -> None:
    """Run a command, its output shown as it comes; BuildError(failure) if it fails."""
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise BuildError(failure) from None


def say(line: str) -> None:
    """Print the one line about what was left out."""
    print(f"vlp_fast: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    setup(
        packages=[*find_packages(include=["vlp_fast", "vlp_fast.*"]), *MAPPED],
        package_dir=MAPPED,
        ext_modules=[Extension("vlp_fast._C", sources=[], optional=True)],
        cmdclass={"build_ext": CMakeBuild},
    )
