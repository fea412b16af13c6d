"""Settings of the downstream tasks (torch-free)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vlp_fast.data.config import DataConfig
from vlp_fast.data.given_paths import check_file, only_root
from vlp_fast.tasks.config import TaskConfig, TaskSetup

if TYPE_CHECKING:
    from vlp_fast.data.answers import AnswerMap
    from vlp_fast.tasks.task import Task

Head = Literal["linear", "soho", "lxmert", "vilt", "ernie_vil", "infersent"]


@dataclass(frozen=True, kw_only=True)
class SampleTaskConfig(TaskConfig):
    """What all of them have."""

    dataset: ClassVar[str]
    """A key of `data.sources.whose.KINDS`."""
    sides: ClassVar[tuple[str, ...]] = ("picture",)
    """What the pictures of a sample are called, in their order."""

    head: Head = "soho"
    """Classifier over [CLS]: SOHO's, or another by the name of who uses it."""
    codes: bool = False
    """SOHO: read the codes of the dictionary; off, the features in front of it (section 4.2)."""
    shuffled: bool = False
    """Held-out figures with the pictures of other samples, too: what the text alone tells. Of two
    pictures also with one of them alone of another sample (`accuracy_left_only`)."""
    keep_together: bool = False
    """Samples about one picture come in the same batch, and it is decoded and seen by the CNN once
    for them: faster steps, of fewer pictures."""

    @property
    def pictures(self) -> int:
        """Of a sample: [CLS] of as many sequences are classified together, in order."""
        return len(self.sides)

    @abstractmethod
    def classes(self, answers: Sequence[str]) -> tuple[str, ...]:
        """What the outputs of the classifier stand for, in their order.

        Args:
            answers: that the run keeps, where they are the data's.
        """

    @abstractmethod
    def keys_to_answer(self, data: DataConfig) -> list[Any]:
        """Keys of the samples of the held-out split, all of which are to be answered.

        Raises:
            InputError: if nobody takes answers to it, or it cannot be read.
        """

    def look_first(self, data: DataConfig) -> None:
        """These tasks read one data set, which is theirs."""
        root = only_root(data)
        from vlp_fast.data.sources.whose import refuse_foreign

        refuse_foreign(root, self.dataset)

    def look_before_submission(self, data: DataConfig) -> None:
        """Somebody takes answers to the split, and its samples are known."""
        self.keys_to_answer(data)


@dataclass(frozen=True, kw_only=True)
class AnsweringConfig(SampleTaskConfig):
    """Visual question answering (VQA v2) as classification among frequent answers."""

    dataset: ClassVar[str] = "VQA"

    answers: Path | None = None
    """The answers, a JSON list or object as published; looked for in the root if not given."""
    soft_scores: Literal["official", "thirds"] = "official"
    """Target of an answer that n of ten people gave: 0, .3, .6, .9, 1, or min(1, n / 3)."""

    @property
    def abilities(self) -> tuple[str, ...]:
        """What its model is good for."""
        return ("answer",)

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.downstream.answering import Answering

        return Answering(self, setup)

    def look_first(self, data: DataConfig) -> None:
        """One data set, and the answers are where they are said to be."""
        super().look_first(data)
        if self.answers:
            check_file(self.answers, "--task.answers", "the answers of VQA, as json")

    def answer_map(self, data: DataConfig) -> AnswerMap:
        """The answers, in the order of the file.

        Raises:
            InputError: if there is none or it is damaged.
        """
        from vlp_fast.data.answers import find_answer_map, read_answer_map

        return read_answer_map(self.answers or find_answer_map(only_root(data)))

    def classes(self, answers: Sequence[str]) -> tuple[str, ...]:
        """The answers of the map."""
        return tuple(answers)

    def answer_names(self, data: DataConfig) -> Sequence[str]:
        """The answers in their order, which a model's outputs have."""
        return self.answer_map(data).names

    def keys_to_answer(self, data: DataConfig) -> list[int]:
        """Of all questions, pictures or not."""
        from vlp_fast.data.sources.vqa import read_questions
        from vlp_fast.data.submissions.vqa import check_split

        check_split(data.held_out_split)
        questions, _ = read_questions(only_root(data), data.held_out_split)
        return [int(question.key) for question in questions]


@dataclass(frozen=True, kw_only=True)
class ReasoningConfig(SampleTaskConfig):
    """Visual reasoning (NLVR2): is a statement true of a left and a right picture?"""

    dataset: ClassVar[str] = "NLVR2"
    sides: ClassVar[tuple[str, ...]] = ("left", "right")

    @property
    def abilities(self) -> tuple[str, ...]:
        """What its model is good for."""
        return ("compare",)

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.downstream.reasoning import Reasoning

        return Reasoning(self, setup)

    def classes(self, answers: Sequence[str]) -> tuple[str, ...]:
        """Of a statement."""
        return ("false", "true")

    def keys_to_answer(self, data: DataConfig) -> list[str]:
        """Of all statements, pictures or not."""
        from vlp_fast.data.sources.nlvr2 import official_split, read_statements
        from vlp_fast.data.submissions.nlvr2 import check_split

        split = official_split(data.held_out_split)
        check_split(split)
        return [str(statement.key) for statement in read_statements(only_root(data), split)]


@dataclass(frozen=True, kw_only=True)
class EntailmentConfig(SampleTaskConfig):
    """Visual entailment (SNLI-VE): does a hypothesis follow from a picture?"""

    dataset: ClassVar[str] = "SNLI-VE"

    head: Head = "linear"
    """Classifier over [CLS]: a linear layer in the paper."""
    premise: Literal["image", "image+text"] = "image"
    """What the hypothesis follows from. With the caption that annotators wrote it about this is
    another, easier task, and its figures are a leak."""

    @property
    def abilities(self) -> tuple[str, ...]:
        """What its model is good for."""
        return ("entails",)

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.downstream.entailment import Entailment

        return Entailment(self, setup)

    def classes(self, answers: Sequence[str]) -> tuple[str, ...]:
        """Of a hypothesis."""
        from vlp_fast.data.sources.snli_ve import LABELS

        return LABELS

    def keys_to_answer(self, data: DataConfig) -> list[str]:
        """Of all hypotheses with a gold label, pictures or not."""
        from vlp_fast.data.sources.snli_ve import official_split, read_hypotheses
        from vlp_fast.data.submissions.snli_ve import check_split

        split = official_split(data.held_out_split)
        check_split(split)
        return [str(hypothesis.key) for hypothesis in read_hypotheses(only_root(data), split)]
