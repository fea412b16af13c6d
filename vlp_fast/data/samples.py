"""What downstream data sets say of pictures: a sample names some, and has a text and an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What is shown at once.

    Attributes:
        key: its identity in the official files, as they give it.
        images: numbers of the records that it shows, in order.
        text: whitespace collapsed.
    """

    key: int | str
    images: tuple[int, ...]
    text: str

    @property
    def unit(self) -> int | str:
        """What is measured as a whole: the sample itself, or the name of what it is one of."""
        return self.key


@dataclass(frozen=True, kw_only=True, slots=True)
class Question(Sample):
    """A question of VQA about one picture.

    What is known of its answers is either what ten people said or, in other people's files, what
    became of that: a score for each answer. A split may have neither.

    Attributes:
        answers: what people answered, as they wrote it; ten or none.
        majority: the answer of most of them, as the file gives it; "" where there are no answers.
        scores: answers with their scores in (0, 1], where a file gives these instead of answers.
        answer_type: "yes/no", "number" or "other"; "" where it is not said.
        question_type: the words that it begins with; "" where it is not said.
    """

    answers: tuple[str, ...] = ()
    majority: str = ""
    scores: tuple[tuple[str, float], ...] = ()
    answer_type: str = ""
    question_type: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement(Sample):
    """A statement of NLVR2 about a left and a right picture.

    Attributes:
        label: whether it is true of them; None where nobody says.
        group: the identifier without the pair's number: examples of one group share the sentence.
    """

    label: bool | None
    group: str

    @property
    def unit(self) -> str:
        """The group: consistency is of whole ones."""
        return self.group


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis(Sample):
    """A hypothesis of SNLI-VE about one picture.

    Attributes:
        label: "entailment", "neutral" or "contradiction".
        premise: a caption of this very picture, which gives much away.
    """

    label: str
    premise: str
