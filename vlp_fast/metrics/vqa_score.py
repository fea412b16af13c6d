"""The accuracy of VQA: an answer is right if three of the other nine people gave it.

A rule says how the answer and the ten are rewritten before they are compared. Two of them have been
the official evaluator's; published numbers rarely say by which they were counted.

Source: Antol et al., "VQA: Visual Question Answering" (2015), and VQAEval of the VQA API.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vlp_fast.metrics.answer_text import normalised, processed_punctuation, stripped
from vlp_fast.metrics.score import Figures, PointScore

PEOPLE = 10
ENOUGH = 3
POINTS = PEOPLE * ENOUGH
"""Points of a right answer; the score is a multiple of 1/30."""
Rule = Callable[[str, Sequence[str]], tuple[str, list[str]]]


def official(answer: str, truth: Sequence[str]) -> tuple[str, list[str]]:
    """Since March 2021: all is normalised, but nothing where the ten agree to the letter.

    So "Yes." is wrong where all ten say "yes", and right where nine do.
    """
    truth = [stripped(text) for text in truth]
    if len(set(truth)) > 1:
        return normalised(answer), [normalised(text) for text in truth]
    return stripped(answer), truth


def before_2021(answer: str, truth: Sequence[str]) -> tuple[str, list[str]]:
    """Until then: the answer is normalised; the ten lose punctuation only, where they differ."""
    if len(set(truth)) > 1:
        truth = [processed_punctuation(text) for text in truth]
    return normalised(answer), list(truth)


def always_normalised(answer: str, truth: Sequence[str]) -> tuple[str, list[str]]:
    """What the official rule is often taken for: everything is normalised."""
    return normalised(answer), [normalised(text) for text in truth]


RULES: dict[str, Rule] = {
    "official": official,
    "before 2021": before_2021,
    "always normalised": always_normalised,
}


def points(answer: str, truth: Sequence[str], rule: Rule = official) -> int:
    """Score an answer.

    Each of the ten is left out in turn and the answer compared with the other nine: three of them
    are enough, fewer are a third each. The score is the mean of the ten comparisons.

    Args:
        answer: of the model.
        truth: what ten people answered; each counts for one, as with distinct `answer_id`s.
        rule: a value of `RULES`.

    Returns:
        Thirtieths: 0, 9, 18, 27 or 30 for 0, 1, 2, 3 or more people.

    Raises:
        ValueError: if there are not ten answers.
    """
    if len(truth) != PEOPLE:
        raise ValueError(f"points: received {len(truth)} answers of people, expected {PEOPLE}")
    answer, compared = rule(answer, truth)
    same = compared.count(answer)
    return same * min(ENOUGH, same - 1) + (PEOPLE - same) * min(ENOUGH, same)


class VqaScore(PointScore):
    """Collects answers, question by question.

    Args:
        rules: names in `RULES`; the first one's figures are called "vqa", those of others
            "vqa (NAME)".
    """

    def __init__(self, rules: Sequence[str] = ("official", "always normalised")) -> None:
        super().__init__()
        self._rules = {
            f"vqa ({name})" if place else "vqa": RULES[name] for place, name in enumerate(rules)
        }

    def add(
        self,
        question_id: int | str,
        answer: str,
        truth: Sequence[str],
        *,
        answer_type: str,
        question_type: str,
    ) -> None:
        """Count one question.

        Args:
            question_id: its identity.
            answer: of the model.
            truth: what ten people answered.
            answer_type: "yes/no", "number" or "other".
            question_type: the words that it begins with.

        Raises:
            ValueError: if there are not ten answers.
        """
        self.examples.add(question_id)
        for place, (name, rule) in enumerate(self._rules.items()):
            reached = points(answer, truth, rule)
            self._count(name, reached, POINTS)
            if place == 0:
                self._count(f"{name}, answers {answer_type}", reached, POINTS)
                self._count(f"{name}, questions {question_type}", reached, POINTS)

    def figures(self) -> Figures:
        """Percent, rounded to two decimals as the official evaluator does: all, by type of answer.

        Names, in this order: "vqa", "vqa (always normalised)", "vqa, answers number", ...
        """
        return self._rounded(lambda name: ", questions " not in name)

    def by_question_type(self) -> Figures:
        """The same for each type of question, named "vqa, questions what is the"."""
        return self._rounded(lambda name: ", questions " in name)

    def _rounded(self, wanted: Callable[[str], bool]) -> Figures:
        names = sorted(filter(wanted, self._possible))  # not as the questions happen to come
        return {name: round(self._percent(name), 2) for name in names}
