"""Rankings of held-out pictures: protocols, broken pictures, shortlists."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranked_tasks import PICTURES, held_out, plain_scores, ranking_task, scores_of
from rebuilt import with_settings
from sample_tasks import Build

from vlp_fast.errors import InputError
from vlp_fast.metrics.recall import recall
from vlp_fast.tasks.retrieval import ranking
from vlp_fast.tasks.retrieval.contest import Contest, contest_of, groups_of
from vlp_fast.tasks.retrieval.ranking import ranked


@pytest.fixture(scope="module")
def task(build: Build) -> Any:
    return ranking_task(build)


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
    told: list[int] = []
    short = with_settings(task, fold=4, shortlist=10**6)  # more than there are
    of_folds = ranked(short, held_out(short, progress=lambda done, _: told.append(done)))
    assert of_folds.lines[-1].startswith("1 pictures cannot be read")
    assert of_folds.figures() == ranked(with_settings(task, fold=4), held_out(task)).figures()
    assert told == [4, 8, 12]


def test_captions_that_several_pictures_have_are_counted() -> None:
    """Not those that one picture has twice."""
    contest = Contest(
        indices=(0, 1, 2),
        captions=("a dog", "a dog", "a cat", "a dog", "a cow", "a cow"),
        image_of=(0, 0, 0, 1, 2, 2),
    )
    assert contest.shared_captions == 3


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
