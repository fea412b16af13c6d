"""From what sides tell of their steps to rows of the ledger, and to lines for a person."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np

from .. import ledger, peers, record
from ..ledger import Row
from ..record import number
from ..report import OURS
from .turns import Measured

OPERATOR = "step"


def rows(found: Sequence[Measured], *, data: str, date: str) -> list[Row]:
    """A row for each side; times are of a step.

    Args:
        found: the sides of a case.
        data: what the pictures are, for the case's name; empty if they are drawn.
        date: of the run.
    """
    plan = found[0].plan
    machine = record.environment(plan.device) | {"date": date}
    version = peers.version_of("torchvision")
    machine["peers"] = ", ".join(filter(None, [machine["peers"], f"torchvision {version}"]))
    case = "-".join(filter(None, [plan.case, f"B{plan.pictures}", data]))
    return [_row(one, case) | machine for one in found]


def lines(found: Sequence[Measured]) -> list[str]:
    """Who does how many pairs a second, with how much memory, and what that is of ours."""
    ours = next((one for one in found if one.plan.provider == OURS and not one.problem), None)
    return [_line(one, ours) for one in found]


def rates(measured: Measured) -> list[float]:
    """Pairs a second of each pass."""
    return [
        sum(turn["pairs"] for turn in turns) / sum(turn["seconds"] for turn in turns)
        for turns in measured.passes
    ]


def _row(measured: Measured, case: str) -> Row:
    plan = measured.plan
    identity = {
        "operator": OPERATOR,
        "case": case,
        "provider": plan.provider,
        "backend": measured.about.get("backend", ""),
        "direction": "step",
        "dtype": _dtype(plan.device),
    }
    row = {**dict.fromkeys(ledger.COLUMNS, ""), **identity}
    if measured.problem:
        return row | {"note": measured.problem}
    written = {name: number(value) for name, value in _figures(measured).items()}
    written["compilations"] = str(measured.counted["compilations"])
    return row | written | {"note": ledger.QUICK if plan.is_quick else ""}


def _figures(measured: Measured) -> dict[str, float | None]:
    turns = [turn for of_pass in measured.passes for turn in of_pass]
    steps = min(measured.plan.at_once, measured.plan.steps)
    seconds = [turn["seconds"] / steps for turn in turns]
    p20, median, p80 = (float(x) for x in np.percentile(seconds, (20, 50, 80)))
    found = rates(measured)
    others = measured.others_cpu
    return {
        "median_us": 1e6 * median,
        "p20_us": 1e6 * p20,
        "p80_us": 1e6 * p80,
        "cpu_us": 1e6 * mean(turn["cpu"] for turn in turns) / steps,
        "first_us": 1e6 * measured.first,
        "synchronisations": measured.counted["synchronisations"],
        "max_error": measured.about.get("disagreement"),
        "pairs_per_s": mean(found),
        "pairs_per_s_std": stdev(found) if len(found) > 1 else None,
        "peak_mib": measured.counted["peak"] / 2**20,
        "others_cpu": None if others is None else round(others, 3),
    }


def _line(measured: Measured, ours: Measured | None) -> str:
    name = measured.plan.provider
    if measured.problem:
        return f"{name}: {measured.problem}"
    found, own = _figures(measured), rates(measured)
    spread = f" +- {stdev(own):.2g}" if len(own) > 1 else ""
    said = f"{name}: {mean(own):.3g}{spread} pairs a second, {found['peak_mib']:.0f} MiB"
    if ours is None or measured is ours:
        return said
    of_ours: Any = _figures(ours)
    faster = of_ours["pairs_per_s"] / (found["pairs_per_s"] or 1)
    by_cpu = (found["cpu_us"] or 0) / of_ours["cpu_us"]  # of as many pairs
    memory = of_ours["peak_mib"] / (found["peak_mib"] or 1)
    return f"{said}; ours {faster:.2f}x as fast ({by_cpu:.2f}x by CPU time), {memory:.2f}x memory"


def _dtype(device: str) -> str:
    """Of the products; the plan of a run says so."""
    if device == "cpu":
        return "float32"
    import torch

    return "bfloat16" if torch.cuda.get_device_capability()[0] >= 8 else "float16"
