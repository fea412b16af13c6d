"""The native code's functions as tests call them: those of the CPU, and those of the GPU."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import emulator
import pytest

from vlp_fast import native, ops
from vlp_fast.ops.backends import but_float64
from vlp_fast.reference import attention, dictionary

DICTIONARY = (
    "nearest_code",
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


@pytest.fixture(scope="session")
def cuda_modules() -> Callable[[int], ModuleType]:
    """cuda_modules(900): the extension's CUDA functions, run on the CPU as for an architecture."""
    if emulator.COMPILER is None:
        pytest.skip("no C++ compiler")
    return cache(emulator.load)


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
