"""Rankings of held-out pictures: protocols, broken pictures, processes, shortlists, kept rows."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranked_tasks import PICTURES, held_out, plain_scores, ranking_task
from rebuilt import with_settings
from sample_tasks import Build
from teams import run_team

from vlp_fast.errors import InputError, ToldElsewhere
from vlp_fast.metrics.recall import recall
from vlp_fast.tasks.retrieval import ranking
from vlp_fast.tasks.retrieval.contest import contest_of, groups_of
from vlp_fast.tasks.retrieval.ranking import ranked, scores_of
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


def test_figures_are_the_recall_of_plain_scores(task: Any) -> None:
    contest = contest_of(task.held_out, held_out(task).indices, "all")
    scores = plain_scores(task, list(contest.indices), list(contest.captions))
    expected = recall(scores, contest.image_of).figures()
    found = task.figures(held_out(task))
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert 0 < expected["ir_r5"] < 100
    assert {"loss", "retrieval", "retrieval_accuracy"} < set(found)
    (what, *others) = task.remarks(found, held_out(task))
    assert f"{PICTURES} pictures and {len(contest.captions)} captions (all of each, set " in what
    assert "every pair" in what
    assert any(line.startswith("ties: ") for line in others)


def test_five_captions_and_folds(task: Any) -> None:
    five = with_settings(task, captions="five", fold=4)
    found = ranked(five, held_out(five))
    assert len(found.recall.images) == len(found.recall.texts) == 3
    assert [len(ranks.better) for ranks in found.recall.images] == [20] * 3
    indices = held_out(task).indices
    means = []
    for start in (0, 4, 8):
        contest = contest_of(task.held_out, indices[start : start + 4], "five")
        scores = plain_scores(task, list(contest.indices), list(contest.captions))
        means.append(recall(scores, contest.image_of).figures())
    for name, value in found.figures().items():
        assert value == pytest.approx(np.mean([one[name] for one in means]))
    assert "60 captions (at most five of each" in found.lines[0]
    assert "in 3 folds of 4, whose mean is shown" in found.lines[0]


def test_folds_that_are_not_whole_are_refused(task: Any) -> None:
    with pytest.raises(InputError, match=r"--task\.fold 5: 12 held-out pictures are no whole"):
        ranked(with_settings(task, fold=5), held_out(task))


def test_all_at_once_has_the_folds_of_a_thousand_too(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "FOLD", 6)
    found = ranked(task, held_out(task)).figures()
    folds = ranked(with_settings(task, fold=6), held_out(task)).figures()
    assert {f"1k_{name}": value for name, value in folds.items()} == {
        name: value for name, value in found.items() if name.startswith("1k_")
    }
    assert found["ir_r5"] < folds["ir_r5"]


def test_a_broken_picture_is_last_and_finds_nothing(
    build: Build, small_world: Path, tmp_path: Path
) -> None:
    whole = ranking_task(build)
    world = shutil.copytree(small_world, tmp_path / "world")
    data = replace(whole.setup.data, root=(world,))
    task = whole.settings.build(replace(whole.setup, data=data))
    task.learner = whole.learner
    index = held_out(task).indices[3]
    path = task.held_out.records[index].path
    path.write_bytes(path.read_bytes()[:100])
    contest = contest_of(task.held_out, held_out(task).indices, "all")
    scores = scores_of(task, held_out(task), contest)
    assert np.isneginf(scores[3]).all()
    others = np.arange(PICTURES) != 3
    expected = scores_of(whole, held_out(whole), contest)
    assert np.array_equal(scores[others], expected[others])
    found = task.figures(held_out(task))
    assert found["ir_r1"] <= 100 - 100 / PICTURES
    assert "1 pictures cannot be read; they come last, and find nothing" in task.remarks({}, None)


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
    assert not (tmp_path / "kept").exists()


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
    assert not (tmp_path / "kept").exists()


@pytest.mark.usefixtures("few_pairs")
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rows_at_once": 77}, r"another --task\.rows-at-once \(8192 then, 77 now\)"),
        ({"codes": True}, r"another --task\.codes \(False then, True now\)"),
        ({"captions": "five"}, "another texts"),
    ],
)
def test_a_stopped_ranking_goes_on_with_the_same_settings_only(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: Any, named: str
) -> None:
    stop(task, tmp_path, monkeypatch)
    other = with_settings(task, **changes)
    contest = contest_of(other.held_out, held_out(other).indices, other.settings.captions)
    with pytest.raises(InputError, match=named):
        scores_of(other, held_out(other, folder=tmp_path / "kept"), contest)
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


@pytest.mark.parametrize("model", ["soho", "e2e_vlp"])
def test_a_shortlist_is_exact_for_what_is_on_it_and_named(build: Build, model: str) -> None:
    task = ranking_task(build, model=model)
    contest = contest_of(task.held_out, held_out(task).indices, "all")
    whole = scores_of(task, held_out(task), contest)
    count = len(contest.captions)
    assert np.allclose(
        scores_of(with_settings(task, shortlist=count), held_out(task), contest), whole, atol=1e-5
    )
    short = with_settings(task, shortlist=3)
    some = scores_of(short, held_out(task), contest)
    is_there = ~np.isneginf(some)
    np.testing.assert_allclose(some[is_there], whole[is_there], rtol=0, atol=1e-5)
    distinct = len({tuple(task.encode(caption)) for caption in contest.captions})
    assert 3 * max(PICTURES, distinct) <= is_there.sum() * distinct / count * 1.2
    assert is_there.sum() < whole.size / 2
    assert (is_there.sum(0) >= 3).all()
    assert (is_there.sum(1) >= 3).all()
    lines = ranked(short, held_out(short)).lines
    assert "a shortlist of pairs" in lines[0]
    assert "the best 3 captions of each picture and pictures of each caption" in lines[1]


def test_groups_do_not_depend_on_the_order_of_the_pictures(task: Any) -> None:
    indices = [5, 3, 40, 17, 22, 8, 1]
    groups = groups_of(task.held_out, indices, 8192 // 3)
    assert groups == groups_of(task.held_out, sorted(indices), 8192 // 3)
    assert [len(group) for group in groups] == [3, 3, 1]
    assert sorted(index for group in groups for index in group) == sorted(indices)
    assert [len(group) for group in groups_of(task.held_out, indices, 10**6)] == [1] * 7
    assert groups_of(task.held_out, [], 10) == []
