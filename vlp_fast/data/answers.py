"""The answers that VQA is a choice among, and how right each of them is.

The order of the answers is the order of a model's outputs and is fixed by a file: builds of the
same set differ in it, so that a map is kept with a model and never built again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.data.samples import Question
from vlp_fast.data.sources.folders import annotation_file, is_file
from vlp_fast.data.sources.json_files import JsonFile, read_json, shown
from vlp_fast.errors import InputError
from vlp_fast.metrics.answer_text import vocabulary_form
from vlp_fast.whole_file import write_json

LEAVE_ONE_OUT = (0.0, 0.3, 0.6, 0.9, 1.0)
"""Score of what 0, 1, 2, 3, 4 or more of ten people answered: the official mean over nines."""
THIRDS = (0.0, 1 / 3, 2 / 3, 1.0)
"""The simpler rule, min(1, n / 3)."""
FEWEST_QUESTIONS = 9
FILES = ("vqa_trainval_label2ans.json", "trainval_label2ans.json", "label2ans.json")
"""What maps are called, where they come with a data set."""
MOST = 1_000_000
"""Answers that a map may hold, each an output of a model: people gave fewer in all of VQA v2."""


@dataclass(frozen=True, eq=False)
class AnswerMap:
    """Answers by number and numbers by answer.

    Attributes:
        names: the answers, each once; the first one of the usual 3,129 is the empty string.
        numbers: of each name.
    """

    names: tuple[str, ...]
    numbers: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Raises ValueError for no names or one that comes twice."""
        numbers = {name: number for number, name in enumerate(self.names)}
        if not numbers or len(numbers) < len(self.names):
            raise ValueError(
                f"AnswerMap: received {len(self.names)} names, of which {len(numbers)} differ; "
                "expected at least one, and each once"
            )
        object.__setattr__(self, "numbers", numbers)

    def __len__(self) -> int:
        return len(self.names)


def find_answer_map(root: Path) -> Path:
    """Return the answer map of a data set's folder.

    Raises:
        InputError: if it has none.
    """
    path = annotation_file(root, *FILES)
    if not is_file(path):
        raise InputError(
            f"{printable(root)}: has no answer map ({FILES[0]}, looked there and in "
            f"{printable(root / 'annotations')}); give one with --task.answers, or build one: "
            "`vlp-fast data make-answers`"
        )
    return path


def read_answer_map(path: Path) -> AnswerMap:
    """Read a map: a json list of answers (label2ans) or an object of their numbers (ans2label).

    Raises:
        InputError: if the file is missing or damaged, an answer comes twice, or numbers are not
            0 .. n - 1, each once.
    """
    file = read_json(path)
    content = file.content
    if isinstance(content, list | dict) and len(content) > MOST:
        raise _wrong(path, f"holds {len(content):,} entries, expected {MOST:,} answers at most")
    names = content if isinstance(content, list) else _in_order(file)
    for name in names:
        if not isinstance(name, str):
            raise _wrong(path, f"holds {shown(name)}, expected answers, which are text")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise _wrong(path, f"holds the answer {shown(twice[0])} twice")
    if not names:
        raise _wrong(path, "holds no answer")
    return AnswerMap(tuple(names))


def write_answer_map(path: Path, answers: AnswerMap) -> None:
    """Write a map as a json list, whole or not at all."""
    write_json(path, list(answers.names))


def soft_scores(
    question: Question, answers: AnswerMap, *, by_count: Sequence[float] = LEAVE_ONE_OUT
) -> dict[int, float]:
    """Score the answers of the map.

    Answers are counted and looked up as people wrote them, like everywhere, though what is written
    otherwise ("2 dogs" and "two dogs") does not add up. Where a file gives scores, they are these.

    Args:
        question: with ten answers, or with scores.
        answers: the map.
        by_count: score of an answer that 0, 1, 2, ... people gave; the last one is for more too.

    Returns:
        Scores > 0 by number; empty if no answer is in the map, which is no reason to leave the
        question out of an evaluation.
    """
    known = answers.numbers
    if question.scores:
        return {known[name]: score for name, score in question.scores if name in known}
    counts = Counter(question.answers)
    most = len(by_count) - 1
    return {known[name]: by_count[min(n, most)] for name, n in counts.items() if name in known}


def build_answer_map(questions: Iterable[Question], *, fewest: int = FEWEST_QUESTIONS) -> AnswerMap:
    """Build a map by the usual rule: answers that are the majority's of so many questions.

    Majority answers are normalised as the official evaluator does. The most frequent comes first,
    equally frequent ones in alphabetical order.

    Args:
        questions: usually of train and val.
        fewest: 9 makes the usual 3,129 answers of train and val of VQA v2.

    Raises:
        InputError: if no answer is frequent enough.
    """
    forms: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for question in questions:
        if question.answers:
            majority = question.majority
            counts[forms.setdefault(majority, vocabulary_form(majority))] += 1
    frequent = sorted(
        (name for name in counts if counts[name] >= fewest), key=lambda n: (-counts[n], n)
    )
    if not frequent:
        raise InputError(
            f"no answer is the majority's of {fewest} of {counts.total()} answered questions; give "
            "questions with ten answers each, or ask for fewer with --fewest"
        )
    return AnswerMap(tuple(frequent))


def _in_order(file: JsonFile) -> list[str]:
    """The keys of ans2label by their numbers."""
    numbers = file.content
    if not isinstance(numbers, dict):
        raise _wrong(file.path, f"is {shown(numbers)}, expected a list of answers")
    by_number = {number: name for name, number in numbers.items() if type(number) is int}
    if sorted(by_number) != list(range(len(numbers))):
        raise _wrong(file.path, f"does not number its {len(numbers)} answers from 0, each once")
    return [by_number[number] for number in range(len(numbers))]


def _wrong(path: Path, what: str) -> InputError:
    return InputError(
        f"{printable(path)}: {what}; give a json list of answers (label2ans) or an object of their "
        "numbers (ans2label), or build one with `vlp-fast data make-answers`"
    )
