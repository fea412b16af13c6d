"""Systems take turns, a pair of picture and text at a time; stage after stage on the clock.

On a CPU nothing runs on behind a call: the time of a whole way is the sum of its stages' in one
pass, and the stages that ways share run once for all of them. On a GPU a stage ends when the device
is idle, and a whole way is timed besides, without waiting in between.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..counters import OtherLoad
from ..timing import Effort, only_new_garbage, take_turns, wait_for_device
from .baseline import baseline
from .ours import our_system
from .plan import TWO_STAGE, Plan
from .system import WHOLE, Agreement, Key, Stage, System


class Lap(NamedTuple):
    """Seconds by the clock, and of the process on all CPUs."""

    seconds: float
    cpu: float

    def __add__(self, other: object) -> Lap:
        """Both, one behind the other."""
        assert isinstance(other, Lap)
        return Lap(self.seconds + other.seconds, self.cpu + other.cpu)


@dataclass(kw_only=True)
class Timed:
    """A system, and what was measured of it.

    Attributes:
        plan: what it is.
        system: its stages.
        agreements: how far stages are from the truth.
        flops: of stages, as PyTorch counts them: those of convolutions and products.
        first: seconds of the first pass, which is the one that is checked and counted.
        laps: of stages, and of whole ways.
        others_cpu: share of the CPUs that other processes took meanwhile.
    """

    plan: Plan
    system: System
    agreements: Mapping[Key, Agreement] = field(default_factory=dict)
    flops: dict[Key, int] = field(default_factory=dict)
    first: dict[Key, float] = field(default_factory=dict)
    laps: dict[Key, list[Lap]] = field(default_factory=dict)
    others_cpu: float | None = None


@torch.inference_mode()
def measure(plans: Sequence[Plan], effort: Effort) -> list[Timed]:
    """Check every system on its first pass, then time all of them in turns.

    Raises:
        DisagreementError: if a stage does not make what it should.
    """
    with only_new_garbage():
        found = [first_pass(plan) for plan in plans]
        load = OtherLoad()
        take_turns({place: partial(_timed_pass, one) for place, one in enumerate(found)}, effort)
        others = load.share()
        for one in found:
            one.others_cpu = others
        return found


@torch.inference_mode()
def first_pass(plan: Plan) -> Timed:
    """Make the system, and see what its stages make."""
    system = baseline(plan) if plan.system == TWO_STAGE else our_system(plan)
    timed = Timed(plan=plan, system=system)
    made: dict[Key, Any] = {}

    def counted(key: Key, stage: Stage, given: Any) -> Any:
        with FlopCounterMode(display=False) as counter:
            made[key], lap = _on_the_clock(stage, given)
        timed.flops[key], timed.first[key] = counter.get_total_flops(), lap.seconds
        return made[key]

    _walk(system, counted)
    timed.agreements = system.check(made)
    return timed


def _timed_pass(timed: Timed) -> float:
    """Seconds by the clock, of all that was timed."""
    laps: dict[Key, Lap] = {}

    def clocked(key: Key, stage: Stage, given: Any) -> Any:
        made, laps[key] = _on_the_clock(stage, given)
        return made

    system = timed.system
    _walk(system, clocked)
    spent = sum(lap.seconds for lap in laps.values())
    for way in system.tails:
        if timed.plan.device == "cpu":
            parts = [laps[key] for key in system.keys(way)]
            laps[Key(way, WHOLE)] = sum(parts, start=Lap(0.0, 0.0))
        else:
            _, laps[Key(way, WHOLE)] = _on_the_clock(partial(system.whole, way), system.draw())
            spent += laps[Key(way, WHOLE)].seconds
    for key, lap in laps.items():
        timed.laps.setdefault(key, []).append(lap)
    return spent


def _walk(system: System, call: Any) -> None:
    """Calls every stage once: the trunk, then each tail from where the trunk ends."""
    given = system.draw()
    for name, stage in system.trunk.items():
        given = call(Key("", name), stage, given)
    for way, tail in system.tails.items():
        end = given
        for name, stage in tail.items():
            end = call(Key(way, name), stage, end)


def _on_the_clock(stage: Stage, given: Any) -> tuple[Any, Lap]:
    """From an idle device until it is idle again."""
    wait_for_device()
    start, cpu = time.perf_counter(), time.process_time()
    made = stage(given)
    wait_for_device()
    return made, Lap(time.perf_counter() - start, time.process_time() - cpu)
