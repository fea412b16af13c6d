"""The compiled extension ``vlp_fast._C``: the one place that imports it.

Without it everything works on the other backends, so its absence is a fact to report, not an
error. A file that is there but does not load is a third case, which must not pass for the second.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

MODULE = "vlp_fast._C"


class Native(NamedTuple):
    """The extension, or why there is none; ``is_broken`` if a file is there but does not load."""

    module: ModuleType | None
    problem: str = ""
    is_broken: bool = False


@cache
def load() -> Native:
    """Import the extension once and return it, or the reason for its absence."""
    if find_spec(MODULE) is None:
        return Native(None, "not built")
    try:
        return Native(import_module(MODULE))
    except ImportError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        return Native(None, f"built, but does not load: {reason}", is_broken=True)


def extension() -> ModuleType | None:
    """Return the extension, or None where it is not built or does not load."""
    return load().module


def required() -> ModuleType:
    """Return the extension to a backend that is registered only where it is built."""
    module = load().module
    assert module is not None
    return module


def has_cuda() -> bool:
    """Return whether the extension holds CUDA kernels, for whichever GPUs."""
    module = extension()
    return module is not None and module.build_info()["cuda"] is not None


def summary() -> str:
    """Say in one line what is built, or why nothing is.

    >>> summary()  # doctest: +SKIP
    'gcc 12.2.0, CUDA 13.0.88 for sm_75 sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 compute_120'
    """
    module = extension()
    if module is None:
        return load().problem
    info = module.build_info()
    if info["cuda"] is None:
        return f"{info['compiler']}, without CUDA ({info['cuda_note']})"
    return f"{info['compiler']}, CUDA {info['cuda']} for {' '.join(info['cuda_archs'])}"
