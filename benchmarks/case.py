"""What is measured: a problem, who solves it, and how to see whether a solution is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from vlp_fast import ops
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

    def generator(self, seed: int = 0) -> torch.Generator:
        """Random numbers on the device, the same in every run."""
        return torch.Generator(self.device).manual_seed(seed)


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One way to solve a problem."""

    run: Callable[[], Any]
    """Solves it and returns the solution."""
    read: Callable[[Any], Any] = lambda solution: solution
    """Brings a solution into the form that the case checks; not timed."""
    backend: str = ""
    """Of ours: the backends that run."""
    tolerance: float | None = None
    """Of one that is not meant to be as near to the truth as the case asks for."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem, and the providers that are compared on it."""

    operator: str
    name: str
    """Scenario and shape, without spaces."""
    providers: Mapping[str, Provider]
    """By name; ours first."""
    error: Callable[[Any], float]
    """How far a solution is from the truth, in the unit of `tolerance`."""
    tolerance: float
    wrong: Callable[[Any], float] | None = None
    """Share of the parts of a solution that are not the best there is; `None`: not counted."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Providers that are left out, and why."""
    dtype: str = "float32"
    direction: str = "forward"
    calls: int = 1
    """Calls of the operator in one run of a provider; times are for one of them."""
    num_bytes: int | None = None
    """The least a call has to read and write in the memory of the device; `None`: not counted."""
    flops: int | None = None
    """The least a call has to compute; `None`: not counted."""
    arithmetic: str = ""
    """The least dtype that computes it, where a proof makes up for it; `dtype` if empty."""


Cases = Mapping[str, Callable[[], Case]]
"""Cases by name, each drawn when it is asked for."""


def ours(
    run: Callable[[], Any],
    operators: Sequence[str],
    device: str,
    read: Callable[[Any], Any] = lambda solution: solution,
) -> dict[str, Provider]:
    """Our way as it runs by default on a device, and on each other backend of it that is built.

    On a GPU not on the reference, which is made to be read, and takes seconds there.

    Args:
        run: calls these operators.
        operators: by name.
        device: where its tensors are.
        read: as in `Provider`.
    """
    chosen = "+".join(dict.fromkeys(ops.backend_for(name, device)[0] for name in operators))
    providers = {OURS: Provider(run=run, read=read, backend=chosen)}
    for backend in _complete_backends(operators, device):
        if backend != chosen:
            forced = _forced(run, backend)
            providers[f"{OURS} {backend}"] = Provider(run=forced, read=read, backend=backend)
    return providers


def _complete_backends(operators: Sequence[str], device: str) -> list[str]:
    """Backends of a device that have all these operators."""
    capability = torch.cuda.get_device_capability() if device == "cuda" else (0, 0)
    built = [ops.operators()[name].backends for name in operators]
    wanted = [
        backend
        for backend in preferred_backends(device, capability)
        if device != "cuda" or backend != "reference"
    ]
    return [backend for backend in wanted if all(backend in backends for backends in built)]


def _forced(run: Callable[[], Any], backend: str) -> Callable[[], Any]:
    def on_backend() -> Any:
        with ops.use(backend):
            return run()

    return on_backend
