"""What is measured: a problem, who solves it, and how to see whether a solution is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.errors import InputError
from vlp_fast.ops.registry import preferred_backends

OURS = "vlp_fast"
"""First word of the names of our own providers."""
QUICK_BATCH = 2


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where to measure, and whether small problems will do."""

    device: str
    """`cpu` or `cuda`."""
    is_quick: bool = False
    """Small batches and few calls: to see that everything runs, not how fast."""

    def batch(self, size: int) -> int:
        """The batch size to use instead of this one."""
        return min(size, QUICK_BATCH) if self.is_quick else size

    @property
    def needs_gpu(self) -> str:
        """Why what needs a GPU is left out; empty if there is one."""
        return "" if self.device == "cuda" else "left out on a CPU, where it does not run"

    @property
    def needs_time(self) -> str:
        """Why what is compiled is left out; empty if it is not."""
        return "left out of a quick run, because compiling takes long" if self.is_quick else ""

    def generator(self, seed: int = 0) -> torch.Generator:
        """Random numbers on the device, the same in every run."""
        return torch.Generator(self.device).manual_seed(seed)


def setting(device: str, *, is_quick: bool = False) -> Setting:
    """Where to measure; `auto` is the GPU if there is one.

    Raises:
        InputError: if there is no GPU and one is asked for.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise InputError("no CUDA device is visible; leave the device out to measure on the CPU")
    chosen = ("cuda" if has_gpu else "cpu") if device == "auto" else device
    return Setting(device=chosen, is_quick=is_quick)


@dataclass(frozen=True)
class Provider:
    """One way to solve a problem, or why it is left out."""

    run: Callable[[Any], Any] | None = None
    """Maps a problem, or what `prepare` made of it, to the solution."""
    prepare: Callable[[Any], Any] = lambda problem: problem
    """Done before the clock starts."""
    read: Callable[[Any, Any], Any] = lambda problem, solution: solution
    """Brings the solution of a problem into the form that the case checks; not timed."""
    backend: str = ""
    """Of ours: the backends that run."""
    tolerance: float | None = None
    """Of one that is not meant to be as near to the truth as the case asks for."""
    absence: str = ""
    """Why there is no `run`."""

    def unless(self, why: str) -> Provider:
        """The same, or left out if there is a reason."""
        return Provider(absence=why) if why else self


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem, and the providers that are compared on it."""

    operator: str
    name: str
    """Scenario and shape, without spaces."""
    draws: Sequence[Callable[[], Any]]
    """The problems that a run solves one after the other; times are for one of them."""
    providers: Mapping[str, Provider]
    """By name; ours first."""
    error: Callable[[Any, Any], float]
    """How far from the truth the solution of a problem is, in the unit of `tolerance`."""
    tolerance: float
    wrong: Callable[[Any, Any], float] | None = None
    """Share of the parts of a solution that are not the best there is; `None`: not counted."""
    dtype: torch.dtype = torch.float32
    direction: str = "forward"
    num_bytes: Callable[[Any], int] | None = None
    """The least that a problem has to read and write in the device's memory, if it is counted."""
    flops: Callable[[Any], int] | None = None
    """The least it has to compute, if it is counted."""
    arithmetic: torch.dtype | None = None
    """The least dtype that computes it, where a proof makes up for it; else `dtype`."""


def cases(operator: str, where: Setting) -> list[Case]:
    """The cases of an operator, the most telling first; nothing is drawn yet."""
    found: list[Case] = import_module(f"{__package__}.{operator}").cases(where)
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference by the largest value that is expected."""
    difference = (found.double() - expected.double()).abs().max()
    return float(difference / expected.double().abs().max().clamp(min=1e-12))


@cache
def compiled(function: Callable[..., Any], *, dynamic: bool | None = None) -> Callable[..., Any]:
    """The same by torch.compile, which is not imported before it is asked for."""
    made: Callable[..., Any] = torch.compile(function, dynamic=dynamic)
    return made


def ours(
    run: Callable[[Any], Any], operators: Sequence[str], device: str, **parts: Any
) -> dict[str, Provider]:
    """Our way as it runs by default on a device, and on each other backend of it that is built.

    On a GPU not on the reference, which is made to be read, and takes seconds there.

    Args:
        run: calls these operators.
        operators: by name.
        device: where its tensors are.
        parts: `prepare` and `read` of the providers.
    """
    chosen = "+".join(dict.fromkeys(ops.backend_for(name, device)[0] for name in operators))
    providers = {OURS: Provider(run, backend=chosen, **parts)}
    for backend in _complete_backends(operators, device):
        if backend != chosen:
            forced = Provider(_forced(run, backend), backend=backend, **parts)
            providers[f"{OURS} {backend}"] = forced
    return providers


def _complete_backends(operators: Sequence[str], device: str) -> list[str]:
    """Backends of a device that have all these operators."""
    capability = torch.cuda.get_device_capability() if device == "cuda" else (0, 0)
    built = [ops.operators()[name].backends for name in operators]
    found = preferred_backends(device, capability)
    wanted = [name for name in found if device != "cuda" or name != "reference"]
    return [name for name in wanted if all(name in backends for backends in built)]


def _forced(run: Callable[[Any], Any], backend: str) -> Callable[[Any], Any]:
    def on_backend(prepared: Any) -> Any:
        with ops.use(backend):
            return run(prepared)

    return on_backend
