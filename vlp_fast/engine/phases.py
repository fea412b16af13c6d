"""A run as a list of phases: what is learnt, by which parts, on which schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vlp_fast.engine.config import OptimConfig
from vlp_fast.errors import InputError
from vlp_fast.models.config import BackboneConfig
from vlp_fast.tasks.task import Learner, Objective, Stage


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps in a row that learn the same with the same parts.

    Attributes:
        objective: what is learnt.
        start, end: optimiser steps [start, end) of the run.
        begins: whether the objective is new here: what it does first is done at `start`.
        frozen_stages: of the CNN; None for all.
        keeps_statistics: batch norms keep their statistics.
        backbone_scale: the CNN's rate is multiplied by this.
        schedule_start, schedule_length: steps of the learning rate's schedule, which may span
            several phases.
    """

    objective: Objective
    start: int
    end: int
    begins: bool
    frozen_stages: int | None
    keeps_statistics: bool
    backbone_scale: float
    schedule_start: int
    schedule_length: int


def freeze_parts(learner: Learner, phase: Phase) -> None:
    """Let a phase train what it trains, and no other part of the CNN."""
    backbone = learner.model.backbone
    frozen = backbone.num_stages if phase.frozen_stages is None else phase.frozen_stages
    backbone.freeze(frozen)
    backbone.freeze_statistics(phase.keeps_statistics)


def plan_phases(
    stages: tuple[Stage, ...],
    *,
    optim: OptimConfig,
    backbone: BackboneConfig,
    total_steps: int,
    steps_per_epoch: float,
    length: str,
) -> tuple[Phase, ...]:
    """Lay a task's stages one behind another; the last begins with a frozen CNN, if asked for.

    Args:
        stages: of the task; all but the last say how many steps they have.
        optim: how long the CNN is frozen, and what follows.
        backbone: which stages of it never train.
        total_steps: of the run.
        steps_per_epoch: optimiser steps a pass over the samples.
        length: the setting that says how long the run is, for a message.

    Raises:
        InputError: if the run ends before its last stage begins.
        ValueError: if a stage but the last has no number of steps, or the last has one.
    """
    if [stage.steps is None for stage in stages] != [False] * (len(stages) - 1) + [True]:
        raise ValueError(
            f"plan_phases: received stages of {[stage.steps for stage in stages]} steps, expected "
            "a number for each but the last, and None there: it has what is left of the run"
        )
    phases, start = [], 0
    for stage in stages:
        is_last = stage.steps is None
        end = total_steps if stage.steps is None else start + stage.steps
        if not is_last and end >= total_steps:
            raise InputError(
                f"{length}: the run has {total_steps} steps and ends before those of "
                f"{stage.option} {stage.steps}; raise it or lower those"
            )
        whole = Phase(
            objective=stage.objective,
            start=start,
            end=end,
            begins=True,
            frozen_stages=backbone.freeze_stages,
            keeps_statistics=is_last and optim.freeze_statistics,
            backbone_scale=1.0,
            schedule_start=start,
            schedule_length=end - start,
        )
        phases += _with_freeze(whole, optim, steps_per_epoch) if is_last else [whole]
        start = end
    return tuple(phases)


def _with_freeze(whole: Phase, optim: OptimConfig, steps_per_epoch: float) -> list[Phase]:
    """Split where the CNN thaws: at the first step that begins after so many epochs."""
    if not optim.freeze_backbone:
        return [whole]
    thaw = whole.start + math.ceil(optim.freeze_backbone * steps_per_epoch)
    frozen = replace(whole, end=min(thaw, whole.end), frozen_stages=None)
    thawed = replace(whole, start=thaw, begins=False, backbone_scale=optim.thaw_scale)
    return [frozen, thawed] if thaw < whole.end else [frozen]
