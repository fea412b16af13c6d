"""Sides take turns, some steps at a time, so that whatever else the machine does hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from ..counters import OtherLoad
from ..report import OURS
from .cases import CASES, Plan
from .process import Side, SideError

Say = Callable[[str], object]


@dataclass(kw_only=True)
class Measured:
    """What a side did, or why it did not.

    Attributes:
        plan: what it was to do.
        about: what it says of itself.
        problem: why it was not measured; empty if it was.
        first: seconds of its first step.
        passes: of each, what its turns were: seconds, CPU seconds, pairs, losses.
        counted: peak of memory, waits, compilations.
        others_cpu: share of the CPUs that other processes took.
    """

    plan: Plan
    about: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    first: float = float("nan")
    passes: list[list[dict[str, Any]]] = field(default_factory=list)
    counted: dict[str, Any] = field(default_factory=dict)
    others_cpu: float | None = None


def measure(plan: Plan, only: Sequence[str] = (), say: Say = print) -> list[Measured]:
    """All sides of a case, or some; ours is one of them.

    Args:
        plan: of ours; the others' differ in the provider.
        only: names of providers; all if empty.
        say: gets a line when a side is ready and when a pass is done.

    Raises:
        SideError: if ours fails; what another one fails of is its `problem`.
    """
    found = [Measured(plan=replace(plan, provider=name)) for name in _names(plan, only)]
    with ExitStack() as at_end:
        sides = list(_begun(found, at_end, say))
        for _, side in sides:
            side.ask(reset=True)
        load = OtherLoad([side.session for _, side in sides])
        for number in range(plan.passes):
            sides = _pass(sides, number, say)
        share = load.share()
        for measured, side in sides:
            measured.counted, measured.others_cpu = side.ask(end=True), share
    return found


def _names(plan: Plan, only: Sequence[str]) -> list[str]:
    others = CASES[plan.case].others
    if only:
        return [name for name in (OURS, *others) if name in only]
    # On a CPU compiling takes longer than all else: 39 minutes for `e2e_vlp_r18_3` beside other
    # work (torch 2.11, 6 of them CPU time).
    usual = [name for name, way in others.items() if plan.device == "cuda" or not way.is_compiled]
    return [OURS, *(name for name in usual if not (plan.is_quick and others[name].is_compiled))]


def _begun(
    found: Sequence[Measured], at_end: ExitStack, say: Say
) -> Iterator[tuple[Measured, Side]]:
    """Sides one after another, each warm."""
    for measured in found:
        try:
            side = at_end.enter_context(Side(measured.plan))
            measured.about = side.about
            measured.first = side.ask(steps=1)["seconds"]
            if measured.plan.warm_up > 1:
                side.ask(steps=measured.plan.warm_up - 1)
        except SideError as error:
            _tell(measured, error, say)
            continue
        say(f"{measured.plan.provider}: first step {measured.first:.1f} s")
        yield measured, side


def _pass(sides: list[tuple[Measured, Side]], number: int, say: Say) -> list[tuple[Measured, Side]]:
    """As many steps of every side; the order turns round from one turn to the next."""
    plan = sides[0][0].plan
    at_once = min(plan.at_once, plan.steps)
    for measured, _ in sides:
        measured.passes.append([])
    for turn in range(plan.steps // at_once):
        for measured, side in list(sides if turn % 2 == 0 else reversed(sides)):
            try:
                measured.passes[-1].append(side.ask(steps=at_once))
            except SideError as error:
                _tell(measured, error, say)
                sides = [pair for pair in sides if pair[0] is not measured]
    for measured, _ in sides:
        turns = measured.passes[-1]
        rate = sum(x["pairs"] for x in turns) / sum(x["seconds"] for x in turns)
        say(f"{measured.plan.provider}: pass {number + 1}, {rate:.3g} pairs a second")
    return sides


def _tell(measured: Measured, error: SideError, say: Say) -> None:
    """Another one's failure is its problem; ours ends the measurement."""
    if measured.plan.provider == OURS:
        raise error
    measured.problem = f"failed: {error}"
    say(measured.problem)
