"""Scores of an evaluation: processes, and what a folder keeps of them when one is killed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranked_tasks import PICTURES, held_out, ranking_task, scores_of
from rebuilt import with_settings
from sample_tasks import Build
from teams import run_team

from vlp_fast.errors import InputError, ToldElsewhere
from vlp_fast.tasks.retrieval.contest import contest_of
from vlp_fast.tasks.retrieval.ranking import ranked
from vlp_fast.tasks.retrieval.scoring import Scorer


@pytest.fixture(scope="module")
def task(build: Build) -> Any:
    return ranking_task(build)


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of one picture."""
    monkeypatch.setattr("vlp_fast.tasks.retrieval.contest.PAIRS", 1)


class Killed(Exception):
    """In place of a kill."""


@pytest.mark.usefixtures("few_pairs")
@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_have_the_scores_of_one(task: Any, tmp_path: Path, count: int) -> None:
    contest = contest_of(task.held_out, held_out(task).indices, "all")
    alone = scores_of(task, held_out(task), contest)
    told: list[int] = []

    def work(team: Any) -> np.ndarray:
        measured = held_out(
            task, team=team, folder=tmp_path / "kept", progress=lambda done, _: told.append(done)
        )
        return scores_of(task, measured, contest)

    for scores in run_team(count, work):
        assert np.array_equal(scores, alone)
    assert sorted(told) == sorted([*range(1, PICTURES + 1)] * count)


@pytest.mark.usefixtures("few_pairs")
@pytest.mark.parametrize("count", [1, 2])
def test_what_was_done_before_a_kill_is_not_done_again(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    contest = contest_of(task.held_out, held_out(task).indices, "all")
    alone = scores_of(task, held_out(task), contest)
    looked: list[int] = []
    look = Scorer.look

    def watched(self: Scorer, example: Any) -> Any:
        looked.append(example.index)
        if len(looked) == 5:
            raise Killed
        return look(self, example)

    monkeypatch.setattr(Scorer, "look", watched)
    with pytest.raises(Killed):
        scores_of(task, held_out(task, folder=tmp_path / "kept"), contest)
    (folder,) = (tmp_path / "kept").iterdir()
    rows = sorted(folder.glob("rows-*.npy"))
    assert len(rows) == 4
    rows[1].write_bytes(rows[1].read_bytes()[:-10])  # cut off is not kept
    damaged = looked[1]

    work = lambda team: scores_of(
        task, held_out(task, folder=tmp_path / "kept", team=team), contest
    )
    for scores in run_team(count, work):
        assert np.array_equal(scores, alone)
    assert sorted(looked[5:]) == sorted({*contest.indices} - {*looked[:4]} | {damaged})


@pytest.mark.usefixtures("few_pairs")
@pytest.mark.parametrize(("settings", "looks"), [({"fold": 4}, 12), ({"shortlist": 3}, 24)])
def test_a_kill_costs_no_fold_and_no_coarse_look_that_was_finished(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, looks: int
) -> None:
    """Rows of all matrices stay until the last is whole, and none beyond that."""
    some = with_settings(task, **settings)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "of somebody else").write_text("")
    looked: list[int] = []
    look, limit = Scorer.look, looks - 2

    def watched(self: Scorer, example: Any) -> Any:
        if len(looked) == limit:
            raise Killed
        looked.append(example.index)
        return look(self, example)

    monkeypatch.setattr(Scorer, "look", watched)
    with pytest.raises(Killed):
        ranked(some, held_out(some, folder=tmp_path / "kept"))
    limit = 10**6
    found = ranked(some, held_out(some, folder=tmp_path / "kept"))
    assert len(looked) == looks
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["of somebody else"]
    assert found.figures() == ranked(some, held_out(some)).figures()


@pytest.mark.usefixtures("few_pairs")
def test_a_stopped_ranking_goes_on_with_the_same_settings_only(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(task, tmp_path, monkeypatch)
    other = with_settings(task, rows_at_once=77)
    contest = contest_of(other.held_out, held_out(other).indices, "all")
    with pytest.raises(InputError, match=r"another --task\.rows-at-once \(8192 then, 77 now\)"):
        scores_of(other, held_out(other, folder=tmp_path / "kept"), contest)
    with pytest.raises(InputError, match=r"another --task\.shortlist \(0 then, 3 now\)"):
        ranked(with_settings(task, shortlist=3), held_out(task, folder=tmp_path / "kept"))
    assert len(list((tmp_path / "kept").iterdir())) == 1  # before any coarse look
    assert len(list(tmp_path.rglob("rows-*.npy"))) == 2


@pytest.mark.usefixtures("few_pairs")
def test_all_processes_are_told_of_a_folder_of_something_else(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(task, tmp_path, monkeypatch)
    other = with_settings(task, rows_at_once=50)
    contest = contest_of(other.held_out, held_out(other).indices, "all")

    def work(team: Any) -> str:
        with pytest.raises(InputError) as caught:
            scores_of(other, held_out(other, folder=tmp_path / "kept", team=team), contest)
        return type(caught.value).__name__

    assert run_team(2, work) == [InputError.__name__, ToldElsewhere.__name__]


@pytest.mark.usefixtures("few_pairs")
def test_other_weights_and_an_unreadable_note_are_told(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = ranking_task(build)
    stop(task, tmp_path, monkeypatch)
    contest = contest_of(task.held_out, held_out(task).indices, "all")
    measured = held_out(task, folder=tmp_path / "kept")
    task.learner.model.match_head.bias.data += 1
    with pytest.raises(InputError, match="another model"):
        scores_of(task, measured, contest)
    (note,) = tmp_path.rglob("ranking.json")
    note.write_text("[" * 10**5)
    with pytest.raises(InputError, match=r"an unreadable ranking\.json"):
        scores_of(task, measured, contest)


def stop(task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave two rows of scores behind."""
    contest = contest_of(task.held_out, held_out(task).indices, "all")
    told: list[int] = []

    def progress(done: int, total: int) -> None:
        told.append(done)
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        scores_of(task, held_out(task, folder=tmp_path / "kept", progress=progress), contest)


def test_a_folder_that_cannot_be_written_keeps_nothing(task: Any, tmp_path: Path) -> None:
    contest = contest_of(task.held_out, held_out(task).indices, "all")
    (tmp_path / "file").write_text("")
    scores = scores_of(task, held_out(task, folder=tmp_path / "file" / "kept"), contest)
    assert np.array_equal(scores, scores_of(task, held_out(task), contest))
