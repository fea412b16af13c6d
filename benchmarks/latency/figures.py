"""From what was measured to rows of the ledger, and to lines for a person."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from .. import ledger, peers, record
from ..ledger import Row
from ..record import number
from ..report import OURS
from .passes import Lap, Timed
from .plan import TWO_STAGE, WORDS, Plan
from .system import WHOLE, Key

OPERATOR = "latency"


def rows(found: Sequence[Timed], *, date: str) -> list[Row]:
    """A row for each stage of each system, and for each whole way: one case is one stage.

    Args:
        found: of one run.
        date: of the run.
    """
    machine = record.environment(found[0].plan.device) | {"date": date}
    version = peers.version_of("torchvision")
    machine["peers"] = ", ".join(filter(None, [machine["peers"], f"torchvision {version}"]))
    return [_row(one, key) | machine for one in found for key in one.laps]


def lines(found: Sequence[Timed]) -> list[str]:
    """A line for each way of each system: the whole, then its stages; CPU time in brackets."""
    return [_line(one, way) for one in found for way in one.system.tails]


def typical(timed: Timed, key: Key) -> Lap:
    """Medians of a stage or a whole way."""
    laps = timed.laps[key]
    return Lap(median(lap.seconds for lap in laps), median(lap.cpu for lap in laps))


def name_of(plan: Plan, way: str) -> str:
    """Of a system going one of its ways."""
    name = plan.system if plan.system == TWO_STAGE else f"{OURS} {plan.system}"
    return f"{name}, {way}" if way else name


def case_of(plan: Plan, stage: str) -> str:
    """What is compared: a stage on pictures of one size."""
    height, width = plan.size
    return f"{stage}-{height}x{width}-T{WORDS}"


def _row(timed: Timed, key: Key) -> Row:
    plan = timed.plan
    written = {name: number(value) for name, value in _figures(timed, key).items()}
    return {
        **dict.fromkeys(ledger.COLUMNS, ""),
        "operator": OPERATOR,
        "case": case_of(plan, key.stage),
        "provider": name_of(plan, key.way),
        "backend": timed.system.backend,
        "direction": "forward",
        "dtype": "float32",
        **written,
        "note": ledger.QUICK if plan.is_quick else "",
    }


def _figures(timed: Timed, key: Key) -> dict[str, float | None]:
    seconds, cpu = zip(*timed.laps[key], strict=True)
    p20, middle, p80 = (float(x) for x in np.percentile(seconds, (20, 50, 80)))
    parts = timed.system.keys(key.way) if key.stage == WHOLE else [key]
    flops = sum(timed.flops[part] for part in parts)
    agreement = timed.agreements.get(key)
    others = timed.others_cpu
    return {
        "median_us": 1e6 * middle,
        "p20_us": 1e6 * p20,
        "p80_us": 1e6 * p80,
        "wall_us": 1e6 * middle,
        "cpu_us": 1e6 * median(cpu),
        "first_us": 1e6 * sum(timed.first[part] for part in parts),
        "tflop_per_s": flops / middle / 1e12 if flops else None,
        "max_error": agreement.error if agreement else None,
        "wrong_share": agreement.wrong if agreement else None,
        "others_cpu": None if others is None else round(others, 3),
    }


def _line(timed: Timed, way: str) -> str:
    height, width = timed.plan.size
    stages = [f"{key.stage} {_ms(timed, key)}" for key in timed.system.keys(way)]
    whole = _ms(timed, Key(way, WHOLE))
    parts = ", ".join(stages)
    return f"{name_of(timed.plan, way)}, {height}x{width}: {whole} ms; {parts}"


def _ms(timed: Timed, key: Key) -> str:
    """By the clock, and CPU time of the process."""
    seconds, cpu = typical(timed, key)
    return f"{number(1e3 * seconds)} ({number(1e3 * cpu)})"
