"""A run's phases: one behind another without a gap, each with the CNN as the settings say."""

from dataclasses import replace
from typing import Any

import pytest

from vlp_fast.engine.config import OptimConfig
from vlp_fast.engine.phases import Phase, plan_phases
from vlp_fast.errors import InputError
from vlp_fast.models.config import BackboneConfig
from vlp_fast.tasks.task import Objective, Stage


class Nothing(Objective):
    def collate(self, examples: Any, key: Any) -> Any: ...

    def forward(self, learner: Any, inputs: Any) -> Any: ...


FIRST, LAST = Nothing(), Nothing()
TAGGING = Stage(objective=FIRST, steps=10, option="--task.tagging-steps")
STAGES = (TAGGING, Stage(objective=LAST))
OPTIM = OptimConfig(thaw_scale=0.25)
BACKBONE = BackboneConfig(norm="batch", freeze_stages=1)


def plan(
    stages: tuple[Stage, ...] = STAGES, total: int = 100, epoch: float = 8.0, **optim: Any
) -> tuple[Phase, ...]:
    return plan_phases(
        stages,
        optim=replace(OPTIM, **optim),
        backbone=BACKBONE,
        total_steps=total,
        steps_per_epoch=epoch,
        length="--steps 100",
    )


def spans(phases: tuple[Phase, ...]) -> list[tuple[Objective, int, int, bool]]:
    return [(p.objective, p.start, p.end, p.begins) for p in phases]


def test_one_stage_is_one_phase_of_the_whole_run() -> None:
    (only,) = plan((Stage(objective=LAST),))
    assert spans((only,)) == [(LAST, 0, 100, True)]
    assert (only.frozen_stages, only.keeps_statistics, only.backbone_scale) == (1, False, 1.0)
    assert (only.schedule_start, only.schedule_length) == (0, 100)


def test_stages_follow_each_other_each_with_a_schedule_of_its_own() -> None:
    first, last = plan()
    assert spans((first, last)) == [(FIRST, 0, 10, True), (LAST, 10, 100, True)]
    assert [(p.schedule_start, p.schedule_length) for p in (first, last)] == [(0, 10), (10, 90)]


@pytest.mark.parametrize(("epochs", "thaw"), [(2.0, 26), (1 / 3, 13), (0.01, 11), (89 / 8, 99)])
def test_the_last_stage_begins_frozen_and_goes_on_at_a_lower_rate(epochs: float, thaw: int) -> None:
    """It thaws at the first step after so many epochs; the schedule does not begin anew."""
    tagging, frozen, thawed = plan(freeze_backbone=epochs)
    assert spans((tagging, frozen, thawed)) == [
        (FIRST, 0, 10, True),
        (LAST, 10, thaw, True),
        (LAST, thaw, 100, False),
    ]
    assert [p.frozen_stages for p in (tagging, frozen, thawed)] == [1, None, 1]
    assert [p.backbone_scale for p in (tagging, frozen, thawed)] == [1.0, 1.0, 0.25]
    assert [p.schedule_start for p in (frozen, thawed)] == [10, 10]
    assert [p.schedule_length for p in (frozen, thawed)] == [90, 90]


@pytest.mark.parametrize("epochs", [90 / 8, 1000.0])
def test_a_run_may_end_frozen(epochs: float) -> None:
    _, frozen = plan(freeze_backbone=epochs)
    assert spans((frozen,)) == [(LAST, 10, 100, True)]
    assert frozen.frozen_stages is None


def test_a_cnn_that_is_never_frozen_keeps_its_rate() -> None:
    assert [p.backbone_scale for p in plan(freeze_backbone=0.0, thaw_scale=0.25)] == [1.0, 1.0]


def test_statistics_stand_still_in_the_last_stage_only() -> None:
    kept = [p.keeps_statistics for p in plan(freeze_backbone=2.0, freeze_statistics=True)]
    assert kept == [False, True, True]


@pytest.mark.parametrize("total", [1, 9, 10])
def test_a_run_that_ends_before_its_last_stage_is_refused(total: int) -> None:
    with pytest.raises(InputError) as refused:
        plan(total=total)
    assert str(refused.value) == (
        f"--steps 100: the run has {total} steps and ends before those of --task.tagging-steps "
        "10; raise it or lower those"
    )
    assert plan(total=11)[-1].end == 11


@pytest.mark.parametrize("steps", [(), (5,), (10, 5), (None, None), (None, 5)])
def test_only_the_last_stage_has_what_is_left(steps: tuple[int | None, ...]) -> None:
    """A last stage of 5 steps would end the run there, whatever --steps says."""
    with pytest.raises(ValueError, match=r"received stages of .*expected a number for each but"):
        plan(tuple(Stage(objective=LAST, steps=n) for n in steps))
