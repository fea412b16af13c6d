"""``vlp-fast doctor``: what is installed, what runs where and why, and how to get what is missing.

Green is as it should be, yellow works but slower or without an extra, red is broken. Imports
nothing heavy until it runs, so that it can also report on a torch that does not import.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pkgutil import iter_modules
from types import ModuleType
from typing import Literal

from vlp_fast import native
from vlp_fast.dali_build import BUILDS, CODECS, installed

Status = Literal["green", "yellow", "red"]
SYMBOLS: dict[Status, str] = {"green": "ok", "yellow": "--", "red": "!!"}
OLDEST_TORCH = (2, 11)
REBUILD = "pip install -e . --force-reinstall --no-deps --verbose"

OTHER_TORCH = "install the wheel of torch for CUDA 12.6, the last with code for a V100"
DALI = "nvidia.dali"

REQUIRED = ("numpy", "scipy", "safetensors", "tokenizers", "tyro", "rich")

# Module, distribution, what it is for, the extra that brings it (None: triton comes with torch).
OPTIONAL = (
    ("triton", "triton", "Triton kernels", None),
    ("faster_coco_eval", "faster-coco-eval", "detection AP", "eval"),
    ("matplotlib", "matplotlib", "pictures at the end of a run", "viz"),
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One finding: what was looked at, how it is, and the command that repairs it, if any."""

    name: str
    status: Status
    text: str
    repair: str = ""


def report() -> list[Line]:
    """Look at everything and return the findings, most basic first."""
    torch, line = _torch_line()
    lines = [line]
    if torch is not None:
        lines += [_torchvision_line(), *_gpu_lines(torch)]
    lines += _required_lines()
    lines += [_native_line(gpu_visible=torch is not None and torch.cuda.is_available())]
    if torch is not None:
        lines += _probe_lines(torch)
    lines += [_optional_line(*entry) for entry in OPTIONAL]
    lines += [_dali_line(torch)]
    if torch is not None:
        lines += _operator_lines(torch)
    return lines


def main() -> int:
    """Print the report; return 1 if anything in it is red, else 0."""
    lines = report()
    width = max(len(line.name) for line in lines)
    show = _printer()
    for line in lines:
        show(f"{SYMBOLS[line.status]}  {line.name:<{width}}  ", line.status, line.text)
        if line.repair:
            show(" " * (width + 6) + line.repair, "bold", "")
    return int(any(line.status == "red" for line in lines))


def _printer() -> Callable[[str, str, str], None]:
    """What prints a text in a style and plain text behind it; without rich, all of it plainly."""
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        return lambda head, style, rest: print(head + rest)
    console = Console(soft_wrap=True, highlight=False)
    return lambda head, style, rest: console.print(
        Text(head, style=style) + Text(rest, style="default")
    )


def _torch_line() -> tuple[ModuleType | None, Line]:
    repair = "pip install 'torch>=2.11'"
    try:
        torch = import_module("torch")
    except Exception as error:
        return None, Line(name="torch", status="red", text=_first_line(error), repair=repair)
    version = torch.__version__
    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if numbers < OLDEST_TORCH:
        text = f"{version}, older than 2.11"
        return torch, Line(name="torch", status="red", text=text, repair=repair)
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return torch, Line(name="torch", status="green", text=f"{version}, {cuda}")


def _torchvision_line() -> Line:
    try:
        version = import_module("torchvision").__version__
    except Exception as error:
        # Its compiled part belongs to one torch, so a mismatch shows at import.
        repair = "pip install --force-reinstall torchvision"
        return Line(name="torchvision", status="red", text=_first_line(error), repair=repair)
    return Line(name="torchvision", status="green", text=version)


def _required_lines() -> Iterator[Line]:
    """What every installation has beside torch, where it does not import."""
    for module in REQUIRED:
        try:
            import_module(module)
        except Exception as error:
            repair = f"pip install --force-reinstall {module}"
            yield Line(name=module, status="red", text=_first_line(error), repair=repair)


def _gpu_lines(torch: ModuleType) -> Iterator[Line]:
    if not torch.cuda.is_available():
        if torch.version.cuda is None and shutil.which("nvidia-smi"):
            text = "a driver is there, but this torch is built without CUDA"
            yield Line(name="gpu", status="yellow", text=text, repair="pip install torch")
        else:
            yield Line(name="gpu", status="yellow", text="none visible: all runs on the CPU")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        text = (
            f"{properties.name}, capability {properties.major}.{properties.minor}, "
            f"{properties.total_memory / 2**30:.0f} GiB"
        )
        if _has_code(torch, properties.major, properties.minor):
            yield Line(name=f"cuda:{index}", status="green", text=text)
        else:
            text += f"; this torch has no code for it ({', '.join(torch.cuda.get_arch_list())})"
            yield Line(name=f"cuda:{index}", status="red", text=text, repair=OTHER_TORCH)


def _has_code(torch: ModuleType, major: int, minor: int) -> bool:
    """Code of a generation runs on its later members; intermediate code on all that is newer."""
    for name in torch.cuda.get_arch_list():
        kind, _, number = name.rstrip("af").partition("_")
        of = int(number[:-1]), int(number[-1])
        if of <= (major, minor) and (kind == "compute" or of[0] == major):
            return True
    return False


def _native_line(*, gpu_visible: bool) -> Line:
    name, text = "vlp_fast._C", native.summary()
    if native.extension() is None:
        has_compiler = any(map(shutil.which, ("c++", "g++", "clang++")))
        return Line(
            name=name,
            status="red" if native.load().is_broken else "yellow",
            text=text,
            repair=REBUILD if has_compiler else f"install a C++17 compiler, then {REBUILD}",
        )
    if gpu_visible and not native.has_cuda():
        repair = f"install the CUDA toolkit (or set CUDACXX), then {REBUILD}"
        return Line(name=name, status="yellow", text=text, repair=repair)
    return Line(name=name, status="green", text=text)


def _probe_lines(torch: ModuleType) -> Iterator[Line]:
    """Launch an empty kernel on each GPU: the binary may hold no code for it."""
    extension = native.extension()
    if extension is None or not native.has_cuda():
        return
    for index in range(torch.cuda.device_count()):
        name = f"vlp_fast._C on cuda:{index}"
        try:
            extension.device_probe(torch.empty(0, device=f"cuda:{index}"))
        except RuntimeError as error:
            yield Line(name=name, status="red", text=_first_line(error), repair=REBUILD)
        else:
            yield Line(name=name, status="green", text="an empty kernel was launched")


def _optional_line(module: str, distribution: str, purpose: str, extra: str | None) -> Line:
    try:
        import_module(module)
    except ModuleNotFoundError:
        repair = f"pip install -e '.[{extra}]'" if extra else f"pip install {distribution}"
        text = f"not installed ({purpose})"
        return Line(name=module, status="yellow", text=text, repair=repair)
    except Exception as error:
        repair = f"pip install --force-reinstall {distribution}"
        return Line(name=module, status="red", text=_first_line(error), repair=repair)
    return Line(name=module, status="green", text=_version(module, distribution))


def _dali_line(torch: ModuleType | None) -> Line:
    """DALI has builds for CUDA 12 and 13, and only the former has code for a V100."""
    build, codec = installed(tuple(BUILDS)), installed(CODECS)
    if build is None:
        text = "not installed (decodes pictures on a GPU with few cores)"
        return Line(name=DALI, status="yellow", text=text, repair="pip install -e '.[dali]'")
    name, version = build
    text = f"{version} ({name}), nvImageCodec {codec[1] if codec else 'missing'}"
    try:
        import_module(DALI)
    except Exception as error:
        repair = f"pip install --force-reinstall {name}"
        return Line(name=DALI, status="red", text=_first_line(error), repair=repair)
    oldest, gpus = BUILDS[name], [] if torch is None else _capabilities(torch)
    if older := [gpu for gpu in gpus if gpu < oldest]:
        text += f"; has no code for capability {'.'.join(map(str, older[0]))}"
        repair = f"pip uninstall {name}, then pip install -e '.[dali-cu12]'"
        return Line(name=DALI, status="red", text=text, repair=repair)
    return Line(name=DALI, status="green", text=text)


def _capabilities(torch: ModuleType) -> list[tuple[int, int]]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_capability(index) for index in range(count)]


def _operator_lines(torch: ModuleType) -> Iterator[Line]:
    """One line for each operator and device: the backend that runs, and why."""
    try:
        package = import_module("vlp_fast.ops")
        for found in iter_modules(package.__path__):
            import_module(f"vlp_fast.ops.{found.name}")  # defines the operators
    except ImportError as error:
        yield Line(name="operators", status="red", text=_first_line(error), repair="see above")
        return
    registry = import_module("vlp_fast.ops.registry")
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    for operator in registry.operators():
        for device in devices:
            name = f"{operator} on {device}"
            try:
                backend, reason = registry.backend_for(operator, device)
            except ValueError as error:
                yield Line(name=name, status="red", text=_first_line(error), repair=REBUILD)
            else:
                yield Line(name=name, status="green", text=f"{backend}: {reason}")


def _version(module: str, distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return str(getattr(import_module(module), "__version__", "installed"))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
