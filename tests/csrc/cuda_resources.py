"""What the CUDA compilers make of the kernels: registers, stack and spills of each, on each GPU.

`python tests/csrc/cuda_resources.py > tests/csrc/cuda_resources.csv` writes the table anew, with
the compilers that are found.
"""

import ctypes
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
OPERATORS = ("assign", "attention", "dictionary")
SOURCES = tuple(ROOT / f"tests/csrc/{name}_kernels.cu" for name in OPERATORS)
TABLE = ROOT / "tests/csrc/cuda_resources.csv"
KINDS = ("half", "brain", "single")  # FloatKind of csrc/any_float.h
TYPES = ("WarpTeam", "BlockTeam", "Matrix", "Predictions", "AsTheyAre", "Paper", "Official")
TYPES += ("ByQueries", "ByKeys")
REPORT = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for '(?P<arch>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads\n[^\n]*Used (?P<registers>\d+) registers",
    re.DOTALL,
)


class Usage(NamedTuple):
    """Of one kernel; spills are bytes stored and loaded."""

    compiler: str
    arch: str
    kernel: str
    registers: int
    stack: int
    spills: int


def find_nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def find_cuobjdump() -> Path | None:
    """The disassembler that comes with Triton."""
    path = Path(sysconfig.get_path("purelib"), "triton/backends/nvidia/bin/cuobjdump")
    return path if path.exists() else None


def on_tensor_cores(cuobjdump: Path, binary: Path, arch: str) -> set[str]:
    """Kernels of a binary whose machine code multiplies matrices of half precision."""
    command = [cuobjdump, "-sass", "-arch", arch, binary]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    functions = done.stdout.split("Function : ")[1:]
    return {readable(f.split()[0]) for f in functions if re.search(r"HMMA\.\w+\.F32", f)}


def nvcc_version(nvcc: str) -> str:
    answer = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"V([\d.]+)", answer.stdout)
    assert found is not None
    return f"nvcc {found[1]}"


def nvcc_archs(nvcc: str) -> list[str]:
    """Numbers of all architectures that this nvcc compiles for: 75, 80, ..."""
    answer = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True)
    return re.findall(r"compute_(\d+)\b", answer.stdout)


def compile_with_nvcc(nvcc: str, archs: Sequence[str], folder: Path) -> list[Usage]:
    """Compile the kernels for all these architectures, to a file for each source."""
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    command = [nvcc, "-std=c++17", "-O3", f"-I{ROOT / 'csrc'}", "--threads=0", "-Xptxas=-v"]
    report = ""
    for source in SOURCES:
        files = ["-fatbin", str(source), "-o", str(folder / f"{source.stem}.fatbin")]
        done = subprocess.run([*command, *targets, *files], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        report += done.stderr
    return usages(report, nvcc_version(nvcc))


def find_nvrtc_12() -> Path | None:
    """The folder of NVIDIA's wheels, if it holds NVRTC 12, the last one that knows sm_70."""
    folder = Path(sysconfig.get_path("purelib"), "nvidia")
    parts = ("cuda_nvrtc/lib/libnvrtc.so.12", "cuda_runtime/include/cuda_runtime.h")
    return folder if all((folder / part).exists() for part in parts) else None


def compile_with_nvrtc(folder: Path, arch: str) -> tuple[list[Usage], str]:
    """Compile the kernels with NVRTC 12, which needs no GPU; their usage and their PTX."""
    nvrtc = ctypes.CDLL(str(folder / "cuda_nvrtc/lib/libnvrtc.so.12"))
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    words = [f"-arch={arch}", "-std=c++17", f"-I{ROOT / 'csrc'}", "--ptxas-options=-v"]
    words += [f"-I{folder / 'cuda_runtime/include'}"]
    options = (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
    report, ptx = "", ""
    for source in SOURCES:
        program = ctypes.c_void_p()
        code, name = source.read_bytes(), source.name.encode()
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), code, name, 0, None, None)
        failed = nvrtc.nvrtcCompileProgram(program, len(words), options)
        log = text_of(nvrtc, program, "ProgramLog")
        assert not failed, log
        report += log
        ptx += text_of(nvrtc, program, "PTX")
    return usages(report, f"nvrtc {major.value}.{minor.value}"), ptx


def text_of(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    return text.value.decode()


def usages(report: str, compiler: str) -> list[Usage]:
    """Read what ptxas says, by architecture and name."""
    found = [
        Usage(
            compiler,
            match["arch"],
            readable(match["kernel"]),
            int(match["registers"]),
            int(match["stack"]),
            int(match["stores"]) + int(match["loads"]),
        )
        for match in REPORT.finditer(report)
    ]
    return sorted(found, key=lambda usage: (int(usage.arch.removeprefix("sm_")), usage.kernel))


def readable(symbol: str) -> str:
    """_ZN3vlp13assign_kernelINS_8WarpTeamE...: assign_kernel<WarpTeam Matrix float>."""
    name = re.search(r"\d+([a-z_]+_kernel)", symbol)
    assert name is not None, symbol
    words = re.findall(rf"\d({'|'.join(TYPES)})", symbol)
    types = {"f": "float", "d": "double"}
    words += [types[letter] for letter in re.findall(r"I([fd])E", symbol)]
    words += [KINDS[int(kind)] for kind in re.findall(r"ILNS_9FloatKindE(\d)E", symbol)]
    words += re.findall(r"Li(\d+)E", symbol)  # a width
    words += [("false", "true")[int(value)] for value in re.findall(r"ILb([01])E", symbol)]
    return f"{name[1]}<{' '.join(words)}>" if words else name[1]


def all_usages(folder: Path) -> list[Usage]:
    """Of every architecture that the installed compilers know, sm_70 by NVRTC."""
    found: list[Usage] = []
    nvrtc, nvcc = find_nvrtc_12(), find_nvcc()
    if nvrtc is not None:
        found += compile_with_nvrtc(nvrtc, "sm_70")[0]
    if nvcc is not None:
        found += compile_with_nvcc(nvcc, nvcc_archs(nvcc), folder)
    return found


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        sys.stdout.write(",".join(Usage._fields) + "\n")
        for usage in all_usages(Path(name)):
            sys.stdout.write(",".join(map(str, usage)) + "\n")
