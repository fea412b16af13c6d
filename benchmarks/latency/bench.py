"""`vlp-fast bench latency`: all systems in turns, and the papers' factors beside theirs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from ..harness import DisagreementError
from ..ledger import Row
from ..record import environment
from ..timing import QUICK, Effort
from .claims import claims
from .figures import lines, rows
from .passes import measure
from .plan import plans
from .request import LatencyRequest

SECONDS = 5.0
MOST = 30


class Found(NamedTuple):
    """What was measured."""

    rows: list[Row]
    code: int
    """1 if a stage does not make what it should; then there are no rows."""


def bench_latency(request: LatencyRequest, device: str, *, is_quick: bool = False) -> Found:
    """Measure the systems that are asked for, and print what was found."""
    environment(device)  # which is kept: a checkout may change meanwhile
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    passes = request.passes
    effort = Effort(fewest=passes, most_seconds=SECONDS, calls=max(MOST, passes), least_seconds=0.0)
    chosen = plans(request.systems, device, is_quick=is_quick)
    try:
        found = measure(chosen, QUICK if is_quick else effort)
    except DisagreementError as error:
        print(error, flush=True)
        return Found([], 1)
    print(*lines(found), *claims(found), sep="\n", flush=True)
    return Found(rows(found, date=date), 0)
