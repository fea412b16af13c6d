"""`vlp-fast bench step`: the cases one after another, on pictures that are drawn first or given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ..ledger import Row
from ..report import OURS
from .cases import CASES, Plan
from .drawn import VOCABULARY, draw_data
from .figures import lines, rows
from .request import StepRequest
from .turns import measure

FEWEST_PICTURES = 130
"""32 batches of four, within which ours brings pictures of one aspect together."""


class Found(NamedTuple):
    """What was measured of a case."""

    rows: list[Row]
    code: int
    """1 if somebody failed."""


def bench_steps(request: StepRequest, device: str, *, is_quick: bool = False) -> Iterator[Found]:
    """Measure the cases that are asked for, one after another, and print how it goes.

    Raises:
        InputError: whatever is wrong with the data.
        SideError: if ours fails.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with tempfile.TemporaryDirectory() as folder:
        plans = _plans(request, device, Path(folder), is_quick=is_quick)
        if request.data_root is None:
            most = max(plan.total * plan.pictures for plan in plans)
            draw_data(Path(folder), most if is_quick else max(most, FEWEST_PICTURES))
        for plan in plans:
            print(f"step {plan.case}, {plan.pictures} pictures", flush=True)
            only = (OURS, *request.providers) if request.providers else ()
            sides = measure(plan, only, lambda line: print(f"  {line}", flush=True))
            print(*lines(sides), sep="\n", flush=True)
            name = "" if request.data_root is None else "given"
            code = int(any(side.problem for side in sides))
            yield Found(rows(sides, data=name, date=date), code)


def _plans(request: StepRequest, device: str, folder: Path, *, is_quick: bool) -> list[Plan]:
    """Of ours, for each case."""
    vocabulary = request.vocabulary if request.data_root else folder / VOCABULARY
    plans = []
    for name in request.models or CASES:
        size = CASES[name].size(device, is_quick=is_quick)
        size = replace(
            size, pictures=request.pictures or size.pictures, steps=request.steps or size.steps
        )
        plans.append(
            Plan(
                case=name,
                provider=OURS,
                device=device,
                data=str(request.data_root or folder),
                vocabulary=None if vocabulary is None else str(vocabulary),
                pictures=size.pictures,
                warm_up=size.warm_up,
                steps=size.steps,
                passes=1 if is_quick else request.passes,
                at_once=min(size.at_once, size.steps),
                is_quick=is_quick,
            )
        )
    return plans
