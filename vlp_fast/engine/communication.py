"""How much of the watched steps went into sending, and how much of that nothing else hid.

On a GPU collectives and computations are kernels. On a CPU a collective of gloo lasts from the call
to the answer, on threads of its own, and computations are the operators of the main thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SENT = ("gloo:", "nccl:", "ncclDevKernel", "ncclKernel")
COMPUTED = ("aten::", "vlp_fast::")
"""How names of events begin: what is no kernel is the latter, or neither."""

Spans = list[tuple[float, float]]
"""(start, end) in microseconds, apart from one another and ascending."""


@dataclass(frozen=True, kw_only=True)
class Communication:
    """Milliseconds.

    Attributes:
        sending: while at least one collective was under way.
        exposed: of these, while nothing was computed.
        watched: from the first event to the last.
    """

    sending: float
    exposed: float
    watched: float

    def lines(self, steps: int) -> str:
        """Two lines of a table, a step's share."""
        named = {"collectives": self.sending, "and nothing computed": self.exposed}
        return "".join(
            f"{name:24s}{time / steps:10.1f} ms a step, {100 * time / self.watched:.1f} %\n"
            for name, time in named.items()
        )


def communication(events: Iterable[Any], *, is_gpu: bool) -> Communication | None:
    """What a profile's events say; None where nothing was sent.

    Args:
        events: with `name`, `time_range` in microseconds, `device_type`, `is_user_annotation`.
        is_gpu: whether kernels count, or what the host does.
    """
    seen = [event for event in events if (event.device_type.name == "CUDA") == is_gpu]
    if is_gpu:  # where a part of the step has a span of its own, around its kernels
        seen = [event for event in seen if not event.is_user_annotation]
    sent = _union(_span(event) for event in seen if event.name.startswith(SENT))
    if not sent:
        return None
    computed = _union(_span(event) for event in seen if _is_computed(event.name, is_gpu=is_gpu))
    ends = [_span(event) for event in seen]
    return Communication(
        sending=_length(sent) / 1000,
        exposed=(_length(sent) - _common(sent, computed)) / 1000,
        watched=(max(end for _, end in ends) - min(start for start, _ in ends)) / 1000,
    )


def _is_computed(name: str, *, is_gpu: bool) -> bool:
    return not name.startswith(SENT) if is_gpu else name.startswith(COMPUTED)


def _span(event: Any) -> tuple[float, float]:
    return event.time_range.start, event.time_range.end


def _union(spans: Iterable[tuple[float, float]]) -> Spans:
    merged: Spans = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _length(spans: Sequence[tuple[float, float]]) -> float:
    return sum(end - start for start, end in spans)


def _common(first: Spans, second: Spans) -> float:
    """The length of what is in both."""
    total, i, j = 0.0, 0, 0
    while i < len(first) and j < len(second):
        start, end = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        total += max(end - start, 0.0)
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return total
