"""Operators: one schema, one fake kernel, and one implementation for each backend.

An operator is defined once in the `vlp_fast` namespace of `torch.ops`; which backend runs is
decided at each call from the device, its compute capability and `use`, so a compiled graph keeps
obeying all three. Nothing falls back in silence: the preference table picks among the backends
that are *built*, and a backend that is asked for by name and missing is an error.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlp_fast.ops.operands import no_autocast

NAMESPACE = "vlp_fast"


class Preference(NamedTuple):
    """Backends to try in order, on one type of device from one compute capability upwards."""

    device_type: str
    capability: tuple[int, int]
    backends: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Forced:
    """An open block of `use`."""

    backend: str
    operators: frozenset[str] | None
    """None: all."""
    thread: int
    """That entered it."""


# The first row that fits decides. Triton has no fast path below Ampere, so Volta and Turing (sm_70,
# sm_75) go to the CUDA kernels; from Ampere on (sm_80) to Triton's, which no benchmark has compared
# with the former yet. A backend may leave a dtype to the definition: its module says which.
PREFERENCE = (
    Preference("cuda", (8, 0), ("triton", "cuda", "reference")),
    Preference("cuda", (0, 0), ("cuda", "reference")),
    Preference("cpu", (0, 0), ("cpp", "torch", "reference")),
)
OTHER_DEVICES = ("reference",)

_library = torch.library.Library(NAMESPACE, "FRAGMENT")
_operators: dict[str, "Op"] = {}
_forced: list[Forced] = []


class Op:
    """One operator of `torch.ops.vlp_fast`.

    Schemas have neither default values nor keyword-only arguments: the dispatcher drops trailing
    arguments that equal their default, and implementations would have to repeat them.

    Args:
        schema: as `torch.library` reads it, e.g. `"area(Tensor boxes) -> Tensor"`; an argument that
            is written to is `Tensor(a!)`.
        fake: the same arguments, returns empty tensors of the right shape, dtype and device.
    """

    def __init__(self, schema: str, *, fake: Callable[..., Any]) -> None:
        self.name = schema.partition("(")[0]
        self.backends: dict[str, Callable[..., Any]] = {}
        _library.define(schema)
        _library.impl(self.name, self._dispatch, "CompositeExplicitAutograd")
        torch.library.register_fake(f"{NAMESPACE}::{self.name}", fake, lib=_library)
        self.overload: Callable[..., Any] = getattr(
            getattr(torch.ops, NAMESPACE), self.name
        ).default
        _operators[self.name] = self

    def impl(self, backend: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorate the implementation of one backend: positional arguments as in the schema."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.backends[backend] = function
            return function

        return register

    def __call__(self, *args: Any) -> Any:
        return self.overload(*args)

    def _dispatch(self, *args: Any) -> Any:
        first = next(arg for arg in args if isinstance(arg, Tensor))
        function = self.backends[backend_for(self, first.device)[0]]
        # Autocast would reach the tensor operations of an implementation and round what it
        # deliberately computes in float32.
        with torch.no_grad(), no_autocast(first):
            return function(*args)


@contextmanager
def use(backend: str, operators: Iterable[str] | None = None) -> Iterator[None]:
    """Run operators on one backend inside the `with` block, whatever the device.

    The innermost open block of the thread decides. A thread that has none obeys the block that any
    other thread entered last: backward passes of a GPU run on threads of autograd's own, and worker
    threads do as the one that started them. So two threads may ask for different backends, of
    backward passes on a GPU only one at a time. An operator without the backend raises `ValueError`
    when it is called.

    Args:
        backend: e.g. "reference".
        operators: names, e.g. ["attention"], of one `X` that of `X_backward` too. None: all.

    Raises:
        ValueError: no such operator.
        TypeError: `operators` is one name, not a list of them.
    """
    if isinstance(operators, str):
        raise TypeError(f"use: received operators {operators!r}, expected [{operators!r}]")
    names = None if operators is None else _with_backward("use", operators)
    block = Forced(backend=backend, operators=names, thread=get_ident())
    _forced.append(block)
    try:
        yield
    finally:
        _forced.remove(block)


def forced_backend(op: Op) -> str | None:
    """Return the backend that `use` asks for in this thread, if it does."""
    if not _forced:
        return None
    last_first = tuple(_forced)[::-1]  # a copy, for other threads may leave their blocks meanwhile
    asked = [block for block in last_first if block.operators is None or op.name in block.operators]
    own = [block for block in asked if block.thread == get_ident()]
    return (own or asked)[0].backend if asked else None


def operators() -> dict[str, Op]:
    """Return every operator by name, in order of definition."""
    return dict(_operators)


def backend_for(op: Op | str, device: torch.device | str) -> tuple[str, str]:
    """Return the backend that runs an operator on a device now, and why.

    Raises:
        ValueError: no such operator; `use` asks for a backend that the operator does not have.
    """
    op = op if isinstance(op, Op) else _operator("backend_for", op)
    device = torch.device(device)
    forced = forced_backend(op)
    if forced is not None:
        return _required(op, forced), f"asked for by use({forced!r})"
    wanted = preferred_backends(device.type, _capability(device))
    for rank, backend in enumerate(wanted):
        if backend in op.backends:
            absent = f"; it has no {' or '.join(wanted[:rank])} backend" if rank else ""
            return backend, f"preferred on {device.type}{absent}"
    raise ValueError(
        f"{op.name}: received tensors on {device.type}, whose backends are {', '.join(wanted)}, "
        f"expected one of those built: {', '.join(op.backends)}; move the tensors"
    )


def preferred_backends(device_type: str, capability: tuple[int, int]) -> tuple[str, ...]:
    """Return the backends to try in order for a type of device and a compute capability."""
    for row in PREFERENCE:
        if row.device_type == device_type and capability >= row.capability:
            return row.backends
    return OTHER_DEVICES


def _operator(caller: str, name: str) -> Op:
    if name not in _operators:
        raise ValueError(
            f"{caller}: received operator {name!r}, expected one of {', '.join(_operators)}"
        )
    return _operators[name]


def _with_backward(caller: str, names: Iterable[str]) -> frozenset[str]:
    found = {_operator(caller, name).name for name in names}
    return frozenset(found | {f"{name}_backward" for name in found})


def _required(op: Op, backend: str) -> str:
    if backend not in op.backends:
        raise ValueError(
            f"{op.name}: received backend {backend!r} by use(), expected one of those built: "
            f"{', '.join(op.backends)}; run `vlp-fast doctor` to see how to build the others"
        )
    return backend


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)
