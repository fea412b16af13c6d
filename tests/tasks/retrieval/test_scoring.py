"""Scores are those of a plain pass, whatever is computed at once; hostile input."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ranked_tasks import held_out, plain_scores, ranking_task, scores_of
from sample_tasks import Build, Cpu

from vlp_fast.errors import InputError
from vlp_fast.tasks.retrieval.contest import contest_of
from vlp_fast.tasks.retrieval.match_score import match_scores
from vlp_fast.tasks.retrieval.scoring import Scorer
from vlp_fast.tasks.retrieval.texts import Texts

BOUND = 1e-5
"""Between scores that are computed in other portions."""


@pytest.mark.parametrize("model", ["soho", "e2e_vlp"])
@pytest.mark.parametrize("codes", [False, True])
def test_scores_are_those_of_a_plain_pass(build: Build, model: str, codes: bool) -> None:
    if codes and model == "e2e_vlp":
        pytest.skip("it has no codes")
    task = ranking_task(build, model=model, codes=codes)
    indices = held_out(task).indices[:5]
    contest = contest_of(task.held_out, indices, "five")
    expected = plain_scores(task, indices, list(contest.captions))
    assert expected.std() > 1e-3
    shapes = {task.show_held_out(index).size for index in indices}
    assert len(shapes) > 1
    for rows in (150, 8192):
        task.settings = replace(task.settings, rows_at_once=rows)
        found = scores_of(task, held_out(task), contest)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=BOUND)


def test_a_score_is_of_its_pair_alone(build: Build) -> None:
    """Not of the other pictures of its group, to the bit."""
    task = ranking_task(build)
    captions = task.held_out.captions()[:9]
    scorer, texts = task.scorer(Cpu()), Texts([task.encode(caption) for caption in captions])
    looks = [scorer.look(task.show_held_out(index)) for index in range(4)]
    scorer = replace(scorer, rows=1)  # a pair at a time
    together = scorer.scores(looks, texts)
    some = scorer.scores([looks[3], looks[1]], texts)
    assert np.array_equal(some, together[[3, 1]])


def test_equal_texts_have_equal_scores(build: Build) -> None:
    task = ranking_task(build)
    captions = ["a red circle", "a blue square", "A  red circle ", "a red circle"]
    texts = Texts([task.encode(caption) for caption in captions])
    assert len(texts) == 2
    scorer = task.scorer(Cpu())
    looks = [scorer.look(task.show_held_out(index)) for index in range(3)]
    scores = scorer.scores(looks, texts)[:, texts.places]
    assert np.array_equal(scores[:, 0], scores[:, 2])
    assert np.array_equal(scores[:, 0], scores[:, 3])
    assert not np.array_equal(scores[:, 0], scores[:, 1])


def test_one_picture_one_text_and_none(build: Build) -> None:
    task = ranking_task(build)
    scorer = task.scorer(Cpu())
    look = scorer.look(task.show_held_out(0))
    texts = Texts([task.encode("a red circle")])
    expected = plain_scores(task, [0], ["a red circle"])
    np.testing.assert_allclose(scorer.scores([look], texts), expected, atol=BOUND)
    assert scorer.scores([], texts).shape == (0, 1)
    assert scorer.scores([look], Texts([])).shape == (1, 0)


def test_nan_is_told_and_not_ranked(build: Build) -> None:
    task = ranking_task(build)
    with torch.no_grad():
        task.learner.model.encoder.layers[0].ffn.linear1.bias.fill_(torch.nan)
    with pytest.raises(InputError, match="scores are NaN"):
        task.figures(held_out(task))


def test_scores_are_float32_in_half_precision(build: Build) -> None:
    """bf16 has some 200 numbers between 1 and 2^8: pairs would have equals by the thousand."""

    class Half(Cpu):
        def autocast(self) -> Any:
            return torch.autocast("cpu", torch.bfloat16)

    task = ranking_task(build)
    with Half().autocast():
        rows = torch.randn(500, 32).bfloat16()
        scores = match_scores(task.learner.model, rows)
    assert scores.dtype == torch.float32
    assert len(scores.unique()) == 500
    scorer = Scorer(model=task.learner.model, runtime=Half())
    texts = Texts([task.encode(caption) for caption in task.held_out.captions()[:60]])
    looks = [scorer.look(task.show_held_out(index)) for index in range(4)]
    scores = scorer.scores(looks, texts)
    assert scores.dtype == np.float32
    assert len(np.unique(scores)) > 0.9 * scores.size
    exact = task.scorer(Cpu())
    whole = exact.scores([exact.look(task.show_held_out(i)) for i in range(4)], texts)
    assert 0 < np.abs(scores - whole).max() < 0.1


def test_a_model_in_training_mode_is_left_alone(build: Build) -> None:
    task = ranking_task(build)
    before = {n: x.clone() for n, x in task.learner.state_dict().items()}
    task.scorer(Cpu()).look(task.show_held_out(0))
    assert all(torch.equal(x, before[n]) for n, x in task.learner.state_dict().items())
