"""`vlp-fast bench latency`: all systems in turns, and the papers' factors beside theirs."""

from __future__ import annotations

from datetime import UTC, datetime

from ..ledger import Row
from ..timing import QUICK, Effort
from .claims import claims
from .figures import lines, rows
from .passes import measure
from .plan import plans
from .request import LatencyRequest

SECONDS = 5.0
MOST = 30


def bench_latency(request: LatencyRequest, device: str, *, is_quick: bool = False) -> list[Row]:
    """Measure the systems that are asked for, print what was found, and return the rows.

    Raises:
        DisagreementError: if a stage does not make what it should.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    passes = request.passes
    effort = Effort(
        fewest=passes, most_seconds=SECONDS, calls=max(MOST, passes), least_seconds=0.0
    )
    found = measure(
        plans(request.systems, device, is_quick=is_quick), QUICK if is_quick else effort
    )
    print(*lines(found), *claims(found), sep="\n", flush=True)
    return rows(found, date=date)
