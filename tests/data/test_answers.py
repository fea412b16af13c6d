"""The answers of VQA: maps, scores of what ten people said, and the rule that chooses answers."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from downstream_files import ANNOTATIONS, QUESTIONS, annotation, question

from vlp_fast.data.answers import (
    THIRDS,
    AnswerMap,
    build_answer_map,
    read_answer_map,
    soft_scores,
    write_answer_map,
)
from vlp_fast.data.samples import Question
from vlp_fast.data.sources.vqa import load_vqa
from vlp_fast.errors import InputError
from vlp_fast.metrics.answer_text import normalised, vocabulary_form
from vlp_fast.metrics.vqa_score import POINTS, points


def asked(*answers: str, **more: Any) -> Question:
    return Question(key=1, images=(0,), text="?", answers=answers, **more)


def test_both_forms_of_a_map_are_one(tmp_path: Path) -> None:
    names = ("", "yes", "caf\u00e9", "2")
    by_number = {name: number for number, name in reversed(list(enumerate(names)))}
    for document in (list(names), by_number):
        path = tmp_path / "map.json"
        path.write_text(json.dumps(document))
        answers = read_answer_map(path)
        assert answers.names == names
        assert answers.numbers == by_number
        assert len(answers) == 4
    write_answer_map(path, answers)
    assert json.loads(path.read_text()) == list(names)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (["yes", "no", "yes"], 'holds the answer "yes" twice'),
        (["yes", 1], "holds 1, expected answers, which are text"),
        ([], "holds no answer"),
        ({}, "holds no answer"),
        ({"yes": 0, "no": 0}, "does not number its 2 answers from 0, each once"),
        ({"yes": 1, "no": 2}, "does not number its 2 answers from 0, each once"),
        ({"yes": 0, "no": True}, "does not number its 2 answers from 0, each once"),
        ({"yes": 0, "no": "1"}, "does not number its 2 answers from 0, each once"),
        ("yes", 'is "yes", expected a list of answers'),
        (None, "is null, expected a list of answers"),
    ],
)
def test_maps_that_are_refused(tmp_path: Path, document: Any, expected: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read_answer_map(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_answer_that_hides_behind_another_in_json_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"yes": 0, "no": 1, "yes": 2}')
    with pytest.raises(InputError, match="does not number its 2 answers"):
        read_answer_map(path)


def test_a_map_of_names_that_come_twice() -> None:
    with pytest.raises(ValueError, match="received 3 names, of which 2 differ"):
        AnswerMap(("a", "b", "a"))


@pytest.mark.parametrize(
    ("count", "official", "thirds"),
    [(1, 0.3, 1 / 3), (2, 0.6, 2 / 3), (3, 0.9, 1), (4, 1, 1), (10, 1, 1)],
)
def test_scores_are_of_how_many_said_it(count: int, official: float, thirds: float) -> None:
    answers = AnswerMap(("", "yes", "no"))
    said = asked(*["no"] * count, *(f"other {i}" for i in range(10 - count)))
    assert soft_scores(said, answers) == {2: official}
    assert soft_scores(said, answers, by_count=THIRDS) == {2: thirds}


def test_scores_are_of_raw_answers() -> None:
    answers = AnswerMap(("2 dogs", "Two dogs", "yes"))
    said = asked(*["Two dogs"] * 2, *["two dogs"] * 4, "2 dogs", *["none"] * 3)
    assert soft_scores(said, answers) == {1: 0.6, 0: 0.3}
    assert soft_scores(asked(*["none"] * 10), answers) == {}


def test_given_scores_are_taken() -> None:
    answers = AnswerMap(("net", "yes"))
    said = Question(key=1, images=(0,), text="?", scores=(("sea", 1.0), ("yes", 0.667)))
    assert soft_scores(said, answers) == {1: 0.667}
    assert soft_scores(Question(key=1, images=(0,), text="?"), answers) == {}


def test_answers_are_chosen_by_majorities_in_official_spelling() -> None:
    majorities = [*["Two"] * 3, *["2"] * 2, *["a"] * 4, *["yes"] * 5, *["no"] * 3, "1,000"]
    questions = [asked(*["x"] * 10, majority=majority) for majority in majorities]
    assert build_answer_map(questions, fewest=4).names == ("2", "yes", "")
    assert build_answer_map(reversed(questions), fewest=3).names == ("2", "yes", "", "no")
    assert "1000" in build_answer_map(questions, fewest=1).names
    with pytest.raises(InputError, match="no answer is the majority's of 9 of 18 answered"):
        build_answer_map(questions)
    with pytest.raises(InputError, match="of 9 of 0 answered questions"):
        build_answer_map([Question(key=1, images=(), text="?", scores=(("a", 1.0),))] * 9)


def test_the_usual_3129(shared_data: Path) -> None:
    answers = read_answer_map(shared_data / "vocab/vqa_trainval_label2ans.json")
    other = read_answer_map(shared_data / "vocab/vqa_trainval_ans2label.json")
    assert len(answers) == 3129
    assert answers.names == other.names
    assert answers.names[0] == ""
    assert all(normalised(name) == vocabulary_form(name) == name for name in answers.names)


def test_scores_of_real_answers(shared_data: Path) -> None:
    answers = read_answer_map(shared_data / "vocab/vqa_trainval_label2ans.json")
    path = shared_data / "samples/vqa_v2" / ANNOTATIONS.format("val2014")
    rows = json.loads(path.read_text())["annotations"]
    best, simple = [], []
    for row in rows:
        truth = [answer["answer"] for answer in row["answers"]]
        scores = soft_scores(asked(*truth), answers)
        best.append(max(scores.values(), default=0.0))
        # What training asks for is what the evaluator gives where nothing is respelt.
        as_it_is = lambda answer, truth: (answer, list(truth))
        for number, score in scores.items():
            assert score == pytest.approx(points(answers.names[number], truth, as_it_is) / POINTS)
        said = Counter(truth)[row["multiple_choice_answer"]]
        simple.append(THIRDS[min(said, 3)])
    assert sum(score > 0 for score in best) == 97
    assert 100 * sum(best) / len(rows) == pytest.approx(94.3)
    assert 100 * sum(simple) / len(rows) == pytest.approx(99.0)


def test_scores_of_lxmerts_layout(shared_data: Path) -> None:
    answers = read_answer_map(shared_data / "vocab/vqa_trainval_label2ans.json")
    path = shared_data / "coco/okvqa_lxmert.json"
    dataset = load_vqa(shared_data / "coco", "val", missing_images="error", path=path)
    rows = json.loads(path.read_text())
    for sample, row in zip(dataset.samples, rows, strict=True):
        assert isinstance(sample, Question)
        known = {answers.names[n]: score for n, score in soft_scores(sample, answers).items()}
        assert known == {a: s for a, s in row["label"].items() if a in set(answers.names)}


@pytest.fixture
def questions_folder(tmp_path: Path) -> Path:
    """Nine questions whose majority says Yes, and one, in train; as many in val say no."""
    for part, answer in (("train2014", "Yes."), ("val2014", "no")):
        answers = [[answer] * 10] * 9 + [["rare"] * 10]
        document = {"questions": [question(i, i) for i in range(10)]}
        if part == "val2014":
            document = {"questions": [question(100 + i, i) for i in range(10)]}
        first = 0 if part == "train2014" else 100
        rows = [annotation(first + i, i, said) for i, said in enumerate(answers)]
        (tmp_path / QUESTIONS.format(part)).write_text(json.dumps(document))
        (tmp_path / ANNOTATIONS.format(part)).write_text(json.dumps({"annotations": rows}))
    return tmp_path


def test_make_answers(questions_folder: Path, call: Callable[..., Any]) -> None:
    out = questions_folder / "answers.json"
    done = call("data", "make-answers", questions_folder, out)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"2 answers to 20 questions of train+val in {out}\n"
    assert read_answer_map(out).names == ("no", "yes")
    other = questions_folder / "other.json"
    call("data", "make-answers", questions_folder, other, "--split", "train", "--fewest", "1")
    assert read_answer_map(other).names == ("yes", "rare")


def test_make_answers_refuses(questions_folder: Path, call: Callable[..., Any]) -> None:
    old = questions_folder / "old.json"
    old.write_text("old")
    call("data", "make-answers", questions_folder, old).assert_refused("is there already")
    assert old.read_text() == "old"
    out = questions_folder / "answers.json"
    call("data", "make-answers", questions_folder, out, "--fewest", "10").assert_refused(
        "of 10 of 20 answered questions"
    )
    (questions_folder / ANNOTATIONS.format("val2014")).unlink()
    call("data", "make-answers", questions_folder, out).assert_refused("val2014_annotations.json")
    call("data", "make-answers", questions_folder / "none", out).assert_refused("no such folder")
    call("data", "make-answers", questions_folder).assert_refused("make-answers --help")
    assert not out.exists()
    assert call("data", "make-answer", questions_folder, out).code == 2
    call("data", "make-answers", questions_folder, old / "x", "--split", "train").assert_refused(
        old
    )
