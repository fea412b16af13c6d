"""What the CUDA compilers make of the kernels: registers, stack and spills of each, on each GPU.

`python tests/csrc/cuda_resources.py` writes the table anew with the compilers that are found:
nvcc, and NVRTC for sm_70. What is sealed with today's sources is not compiled.
"""

import ctypes
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
from sealed_rows import Row, digest, is_of, read_rows, sealed, write_rows

ROOT = Path(__file__).parents[2]
OPERATORS = ("assign", "attention", "dictionary")
FLAGS = {"nvcc": ("-std=c++17", "-O3", "-Xptxas=-v"), "nvrtc": ("-std=c++17", "--ptxas-options=-v")}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
TABLE = ROOT / "tests/csrc/cuda_resources.csv"
KINDS = ("half", "brain", "single")  # FloatKind of csrc/any_float.h
TYPES = ("WarpTeam", "BlockTeam", "Matrix", "Predictions", "Paper", "Official")
TYPES += ("ByQueries", "ByKeys")
DISASSEMBLED = ("sm_75", "sm_90")  # the disassembler does not know every architecture
NOT_READ = "not read"
REPORT = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for '(?P<arch>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads\n[^\n]*Used (?P<registers>\d+) registers",
    re.DOTALL,
)


class Usage(NamedTuple):
    """Of one kernel; spills are bytes stored and loaded, the instruction is that of matrices."""

    compiler: str
    arch: str
    operator: str
    kernel: str
    registers: int
    stack: int
    spills: int
    tensor_cores: str


def source_of(operator: str, compiler: str) -> str:
    """Hash of all files that an operator's kernels are made of, and of the compiler's options."""
    texts = included(ROOT / f"tests/csrc/{operator}_kernels.cu", {})
    files = [(str(path.relative_to(ROOT)), COMMENT.sub("", text)) for path, text in texts.items()]
    return digest(FLAGS[compiler.split()[0]], sorted(files))


def included(path: Path, found: dict[Path, str]) -> dict[Path, str]:
    """The text of a file and of all that it includes, but for headers of the toolkit."""
    if path not in found:
        found[path] = path.read_text()
        for name in INCLUDE.findall(found[path]):
            included(ROOT / "csrc" / name, found)
    return found


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


def compile_with_nvcc(nvcc: str, operator: str, archs: Sequence[str], folder: Path) -> list[Usage]:
    """Compile an operator's kernels for these architectures."""
    source, binary = ROOT / f"tests/csrc/{operator}_kernels.cu", folder / f"{operator}.fatbin"
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    command = [nvcc, *FLAGS["nvcc"], f"-I{ROOT / 'csrc'}", "--threads=0", *targets]
    files = ["-fatbin", str(source), "-o", str(binary)]
    done = subprocess.run([*command, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = usages(done.stderr, nvcc_version(nvcc), operator)
    cuobjdump = find_cuobjdump()
    return found if cuobjdump is None else list(with_tensor_cores(found, cuobjdump, binary))


def with_tensor_cores(found: list[Usage], cuobjdump: Path, binary: Path) -> Iterator[Usage]:
    """Usages with HMMA where machine code holds it, of the architectures in DISASSEMBLED."""
    archs = {usage.arch for usage in found} & set(DISASSEMBLED)
    multiplies = {arch: on_tensor_cores(cuobjdump, binary, arch) for arch in archs}
    for usage in found:
        word = "HMMA" if usage.kernel in multiplies.get(usage.arch, ()) else ""
        yield usage._replace(tensor_cores=word if usage.arch in archs else NOT_READ)


def find_nvrtc_12() -> Path | None:
    """The folder of NVIDIA's wheels, if it holds NVRTC 12, the last one that knows sm_70."""
    folder = Path(sysconfig.get_path("purelib"), "nvidia")
    parts = ("cuda_nvrtc/lib/libnvrtc.so.12", "cuda_runtime/include/cuda_runtime.h")
    return folder if all((folder / part).exists() for part in parts) else None


def load_nvrtc(folder: Path) -> tuple[ctypes.CDLL, str]:
    """NVRTC and its name and version."""
    nvrtc = ctypes.CDLL(str(folder / "cuda_nvrtc/lib/libnvrtc.so.12"))
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return nvrtc, f"nvrtc {major.value}.{minor.value}"


def compile_with_nvrtc(folder: Path, operator: str) -> list[Usage]:
    """Compile an operator's kernels for sm_70 with NVRTC 12, which needs no GPU."""
    nvrtc, version = load_nvrtc(folder)
    words = ["-arch=sm_70", *FLAGS["nvrtc"], f"-I{ROOT / 'csrc'}"]
    words += [f"-I{folder / 'cuda_runtime/include'}"]
    options = (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
    source = ROOT / f"tests/csrc/{operator}_kernels.cu"
    program = ctypes.c_void_p()
    code, name = source.read_bytes(), source.name.encode()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), code, name, 0, None, None)
    failed = nvrtc.nvrtcCompileProgram(program, len(words), options)
    log = text_of(nvrtc, program, "ProgramLog")
    assert not failed, log
    entries = text_of(nvrtc, program, "PTX").split(".entry ")[1:]
    multiplies = {readable(e.partition("(")[0]) for e in entries if "wmma.mma.sync" in e}
    return [
        usage._replace(tensor_cores="wmma.mma.sync" if usage.kernel in multiplies else "")
        for usage in usages(log, version, operator)
    ]


def text_of(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    return text.value.decode()


def usages(report: str, compiler: str, operator: str) -> list[Usage]:
    """Read what ptxas says, by architecture and name."""
    found = [
        Usage(
            compiler,
            match["arch"],
            operator,
            readable(match["kernel"]),
            int(match["registers"]),
            int(match["stack"]),
            int(match["stores"]) + int(match["loads"]),
            NOT_READ,
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


class Compiler(NamedTuple):
    """One that is installed: "nvcc 13.0.88", what it compiles for, and how."""

    version: str
    archs: list[str]
    compile: Callable[[str, Sequence[str]], list[Usage]]


def compilers(folder: Path) -> list[Compiler]:
    """NVRTC 12 for sm_70 and nvcc, where they are found; `folder` takes what they write."""
    found = []
    nvrtc, nvcc = find_nvrtc_12(), find_nvcc()
    if nvrtc is not None:
        compile_ = lambda operator, _: compile_with_nvrtc(nvrtc, operator)
        found.append(Compiler(load_nvrtc(nvrtc)[1], ["70"], compile_))
    if nvcc is not None:
        compile_ = lambda operator, archs: compile_with_nvcc(nvcc, operator, archs, folder)
        found.append(Compiler(nvcc_version(nvcc), nvcc_archs(nvcc), compile_))
    return found


def rows_of(rows: list[Row], compiler: str, operator: str) -> list[Row]:
    """Those of one operator by one compiler."""
    return [row for row in rows if (row["compiler"], row["operator"]) == (compiler, operator)]


def rows_anew(compiler: Compiler, known: list[Row]) -> Iterator[Row]:
    """Rows of one compiler: those known that hold, others compiled."""
    for operator in OPERATORS:
        source = source_of(operator, compiler.version)
        rows = rows_of(known, compiler.version, operator)
        archs = {row["arch"].removeprefix("sm_") for row in rows}
        if archs == set(compiler.archs) and all(is_of(row, source) for row in rows):
            yield from rows
        else:
            found = compiler.compile(operator, compiler.archs)
            yield from (sealed(usage._asdict(), source) for usage in found)


def main() -> None:
    """Write the table, or nothing where a compiler or the disassembler is not found."""
    known, rows = read_rows(TABLE), []
    with tempfile.TemporaryDirectory() as name:
        found = {compiler.version.split()[0]: compiler for compiler in compilers(Path(name))}
        missing = [kind for kind in FLAGS if kind not in found]
        if find_cuobjdump() is None:
            missing.append("cuobjdump")
        if missing:
            sys.exit(f"not found: {', '.join(missing)}; run it in the environment of `make tables`")
        for kind in FLAGS:
            rows += rows_anew(found[kind], known)
    write_rows(TABLE, rows)


if __name__ == "__main__":
    main()
