"""VQA's accuracy by the official rule, the older one, and the one that is often meant."""

import copy
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from vlp_fast.metrics.vqa_score import POINTS, RULES, VqaScore, official, points

TEN_YES = ["yes"] * 10


def leave_one_out(answer: str, truth: Sequence[str]) -> float:
    """The definition: the mean over annotators of min(1, matches among the others / 3)."""
    scores = []
    for left_out in range(len(truth)):
        others = [text for i, text in enumerate(truth) if i != left_out]
        scores.append(min(1.0, others.count(answer) / 3))
    return sum(scores) / len(scores)


@pytest.mark.parametrize("count", range(11))
def test_points_are_the_mean_over_those_left_out(count: int) -> None:
    truth = ["no"] * count + [f"x{i}" for i in range(10 - count)]
    expected = (0, 0.3, 0.6, 0.9, 1)[min(count, 4)]
    assert points("no", truth) / POINTS == pytest.approx(leave_one_out("no", truth))
    assert points("no", truth) / POINTS == pytest.approx(expected)


def test_nothing_is_normalised_where_all_agree() -> None:
    assert points("Yes.", TEN_YES) == 0
    assert points("Yes.", [*TEN_YES[:9], "Yes"]) == POINTS
    assert points(" yes\n", TEN_YES) == POINTS
    assert points("yes", ["yes\t"] * 5 + [" yes"] * 5) == POINTS  # equal once stripped
    assert points("yes", [" Yes."] * 9 + ["Yes."]) == 0  # so that they agree
    assert points("2", ["Two."] * 10) == 0
    assert points("Two.", ["Two."] * 10) == POINTS


def test_the_older_rule_normalises_the_answer_and_half_of_the_truth() -> None:
    older = RULES["before 2021"]
    assert points("Yes.", TEN_YES, older) == POINTS
    assert points("Yes", ["Yes"] * 10, older) == 0
    assert points("Yes", ["Yes"] * 9 + ["no"], older) == 0
    assert points("two dogs", ["two dogs"] * 9 + ["no"], older) == 0
    assert points("yes no", ["yes, no"] * 9 + ["no"], older) == POINTS
    assert points("yes", [" yes"] * 10, older) == 0


def test_always_normalised() -> None:
    always = RULES["always normalised"]
    assert points("Yes.", TEN_YES, always) == POINTS
    assert points("2", ["Two."] * 10, always) == POINTS
    assert points("2", ["Two."] * 2 + ["3"] * 8, always) == 0.6 * POINTS


def test_ten_people_are_asked() -> None:
    with pytest.raises(ValueError, match="received 9 answers of people, expected 10"):
        points("yes", TEN_YES[:9])


def test_types_have_figures_of_their_own_rounded_at_the_end() -> None:
    score = VqaScore()
    assert score.figures() == score.by_question_type() == {}
    cases = [("yes", "yes/no", "is it"), ("Yes!", "yes/no", "is he"), ("3", "number", "is it")]
    for number, (answer, answer_type, question_type) in enumerate(cases):
        truth = ["yes"] * 9 + ["3"] if number else TEN_YES
        score.add(number, answer, truth, answer_type=answer_type, question_type=question_type)
    assert list(score.figures().items()) == [  # in this order, whichever question comes first
        ("vqa", round(100 * (1 + 1 + 0.3) / 3, 2)),
        ("vqa (always normalised)", 76.67),
        ("vqa, answers number", 30.0),
        ("vqa, answers yes/no", 100.0),
    ]
    assert score.by_question_type() == {
        "vqa, questions is it": 65.0,
        "vqa, questions is he": 100.0,
    }


def real(shared_data: Path, rules: Sequence[str], part: slice = slice(None)) -> VqaScore:
    """The majority answers of the hundred real questions."""
    path = shared_data / "samples/vqa_v2/v2_mscoco_val2014_annotations.json"
    score = VqaScore(rules)
    for row in json.loads(path.read_text())["annotations"][part]:
        score.add(
            row["question_id"],
            row["multiple_choice_answer"],
            [answer["answer"] for answer in row["answers"]],
            answer_type=row["answer_type"],
            question_type=row["question_type"],
        )
    return score


def test_majority_answers_of_real_questions(shared_data: Path) -> None:
    figures = real(shared_data, tuple(RULES)).figures()
    assert figures["vqa"] == 98.4
    assert figures["vqa (before 2021)"] == 97.4
    assert figures["vqa (always normalised)"] == 98.4
    assert real(shared_data, ["before 2021"]).figures()["vqa"] == 97.4


def test_processes_add_up_to_one(shared_data: Path) -> None:
    alone = real(shared_data, tuple(RULES))
    for cuts in ((0, 33, 100), (0, 0, 7, 90, 100)):
        ranks = [real(shared_data, tuple(RULES), slice(a, b)) for a, b in pairwise(cuts)]
        before = copy.deepcopy(ranks[1])
        for rank in ranks[1:]:
            ranks[0].merge(rank)
        assert ranks[0].figures() == alone.figures()
        assert ranks[0].by_question_type() == alone.by_question_type()
        assert ranks[0].examples.hash == alone.examples.hash
        assert ranks[0].examples.count == 100
        assert ranks[1].figures() == before.figures()


def test_truth_is_left_as_it_came() -> None:
    truth = ["Yes."] * 9 + ["no"]
    official("yes", truth)
    points("yes", truth)
    assert truth == ["Yes."] * 9 + ["no"]
