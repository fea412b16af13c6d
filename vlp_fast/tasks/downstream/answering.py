"""VQA v2: a question about a picture, answered by one of some thousand frequent answers.

Binary cross entropy over all answers, summed over them and averaged over questions, as everybody
has it; targets are soft, for people disagree (E2E-VLP section 5.1, SOHO section 4.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.answers import LEAVE_ONE_OUT, THIRDS, AnswerMap, soft_scores
from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Question
from vlp_fast.data.sources.vqa import load_vqa
from vlp_fast.data.submissions.vqa import write_vqa
from vlp_fast.errors import InputError
from vlp_fast.metrics.vqa_score import VqaScore
from vlp_fast.tasks.downstream.config import AnsweringConfig
from vlp_fast.tasks.downstream.sample_task import SampleTask
from vlp_fast.tasks.step import StepOutput

BY_COUNT = {"official": LEAVE_ONE_OUT, "thirds": THIRDS}


class Answering(SampleTask):
    """Questions with soft targets; the official score."""

    settings: AnsweringConfig
    curves: ClassVar = ("answering",)
    samples = "questions"

    def read_split(self, split: str) -> Dataset:
        """Questions, with people's answers where the split has them."""
        return load_vqa(self.root, split, missing_images=self.setup.data.missing_images)

    @cached_property
    def answer_map(self) -> AnswerMap:
        """The answers, in the order of the file."""
        return self.settings.answer_map(self.setup.data)

    @property
    def num_classes(self) -> int:
        """As many as the map has."""
        return len(self.answer_map)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """The answers in their order, which a model's outputs have."""
        return self.answer_map.names

    def check(self) -> None:
        """Some answer of the data is in the map, or nothing could be learnt."""
        super().check()
        questions: Sequence[Any] = self.train.samples
        if not any(self._scores(question) for question in questions):
            raise InputError(
                f"{self.root}: no question of {self.train.name} has an answer of the "
                f"{len(self.answer_map)} in the map; give their own with --task.answers"
            )

    def notes(self) -> dict[str, list[str]]:
        """That there is no official score, where ten people's answers are not in the files."""
        notes = super().notes()
        questions: Sequence[Any] = self.held_out.samples
        if self.has_truth and not any(question.answers for question in questions):
            notes["held out"].append(
                f"the files of {self.held_out.name} score answers and do not say what ten people "
                "answered: answering_accuracy is the mean of these scores, and there is no vqa"
            )
        return notes

    def targets(self, samples: Sequence[Question]) -> dict[str, Tensor]:
        """Soft scores as (k,) rows, answers and scores: few of a row's thousands are not 0."""
        scores = [self._scores(sample) for sample in samples]
        return {
            "rows": torch.tensor([row for row, one in enumerate(scores) for _ in one]),
            "answers": torch.tensor([answer for one in scores for answer in one]),
            "scores": torch.tensor([s for one in scores for s in one.values()]),
        }

    def output(self, logits: Tensor, targets: dict[str, Tensor]) -> StepOutput:
        """The loss, and the soft score of the best answer."""
        place = (targets["rows"].long(), targets["answers"].long())
        soft = torch.zeros_like(logits).index_put(place, targets["scores"].to(logits.dtype))
        loss = functional.binary_cross_entropy_with_logits(logits, soft, reduction="sum")
        count = torch.full((), len(logits), device=logits.device)
        reached = soft.gather(1, logits.argmax(1, keepdim=True)).sum()
        return StepOutput(
            losses={"answering": loss / len(logits)}, counts={"answering": (reached, count)}
        )

    def answer(self, place: int) -> str:
        """The answer of that number."""
        return self.answer_map.names[place]

    def truth(self, sample: Question) -> str | None:
        """What most people answered."""
        if sample.scores:
            return max(sample.scores, key=lambda item: item[1])[0]
        return sample.majority or None

    def score(self) -> VqaScore:
        """The official rule, and the one that it is often taken for."""
        return VqaScore()

    def add(self, score: VqaScore, sample: Question, answer: str) -> None:
        """Count one question, if ten people answered it."""
        if sample.answers:
            score.add(
                sample.key,
                answer,
                sample.answers,
                answer_type=sample.answer_type,
                question_type=sample.question_type,
            )

    def write(self, path: Path, answers: dict[Any, Any]) -> None:
        """The json of the VQA server."""
        data = self.setup.data
        keys = self.settings.keys_to_answer(data)
        write_vqa(path, answers.items(), split=data.held_out_split, question_ids=keys)

    def _scores(self, question: Question) -> dict[int, float]:
        by_count = BY_COUNT[self.settings.soft_scores]
        return soft_scores(question, self.answer_map, by_count=by_count)
