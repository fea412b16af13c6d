"""What processes send one another, as it is asked for: operation, bytes, and what for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

GATHERED = "weights, where they are computed with"
"""By a gathering where PURPOSES would have gradients: of parameters in parts."""
PURPOSES = {
    "updater._shard": "gradients, while they are computed",
    "sharded_parameters.whole": "weights, whole for a while",
    "sharded_parameters.norm": "norm of the gradients",
    "sharded_parameters.gathered": "what the first process writes",
    "reduction.begin_phase": "weights that the phase trains",
    "reduction.take": "sums over the shards",
    "vote.cast": "was a process asked to stop",
    "agreement.check_agreement": "checksums of the weights",
    "agreement.check_same_start": "do all begin with the same",
    "clock.figures": "speed",
    "shown.settle": "samples shown",
    "told_once.gather": "warnings",
    "compilations.figures": "graphs that were compiled",
    "guard.check": "does the run go on",
}
"""By function of the engine, the innermost first."""


@dataclass(frozen=True, kw_only=True)
class Collective:
    """One call.

    Attributes:
        operation: of torch.distributed, without underscores.
        bytes: that this process hands in.
        purpose: what it is for.
        callers: functions of the engine on the way to it, `module.function`, the innermost first.
    """

    operation: str
    bytes: int
    purpose: str
    callers: tuple[str, ...] = field(repr=False)


class Collectives(TorchDispatchMode):
    """Within this context every collective of this thread is noted, whatever group it goes over.

    Attributes:
        calls: all of them, in order.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Collective] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Note the operator if it is one of torch.distributed, and call it."""
        if func.namespace == "c10d":
            self._note(func, args)
        return func(*args, **(kwargs or {}))

    def _note(self, func: Any, args: tuple[Any, ...]) -> None:
        callers = tuple(_callers(sys._getframe(1)))
        operation = func._schema.name.partition("::")[2].strip("_")
        self.calls.append(
            Collective(
                operation=operation,
                bytes=sum(x.numel() * x.element_size() for x in _flat(_handed_in(func, args))),
                purpose=_purpose(callers, operation),
                callers=callers,
            )
        )


def tally(calls: Iterable[Collective]) -> dict[tuple[str, str], tuple[int, int]]:
    """Number and bytes by purpose and operation, in the order in which they first come."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for call in calls:
        count, size = found.get((call.purpose, call.operation), (0, 0))
        found[call.purpose, call.operation] = count + 1, size + call.bytes
    return found


def _handed_in(func: Any, args: tuple[Any, ...]) -> Any:
    """What goes in; where outputs have an argument of their own, inputs have another name."""
    names = [argument.name for argument in func._schema.arguments]
    inputs = [x for name, x in zip(names, args, strict=False) if name.startswith("input")]
    return inputs or args[:1]


def _flat(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [x for value in values for x in _flat(value)] if isinstance(values, list | tuple) else []


def _callers(frame: FrameType | None) -> Iterable[str]:
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(f"{__package__}."):
            yield f"{module.rpartition('.')[2]}.{frame.f_code.co_name}"
        frame = frame.f_back


def _purpose(callers: tuple[str, ...], operation: str) -> str:
    known = (caller for caller in callers if caller in PURPOSES)
    caller = next(known, "")
    if caller == "updater._shard" and operation == "allgather_base":
        return GATHERED
    return PURPOSES.get(caller, "did a process fail")
