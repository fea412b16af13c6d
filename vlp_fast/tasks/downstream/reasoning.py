"""NLVR2: is a statement true of a left and a right picture?

The sentence is read with either picture, and the two [CLS] are classified together (E2E-VLP section
5.1, SOHO section 4.2.3). Left and right are told apart by their order there, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Statement
from vlp_fast.data.sources.nlvr2 import load_nlvr2, official_split
from vlp_fast.data.submissions.nlvr2 import write_nlvr2
from vlp_fast.metrics.consistency import Consistency
from vlp_fast.tasks.downstream.config import ReasoningConfig
from vlp_fast.tasks.downstream.sample_task import SampleTask
from vlp_fast.tasks.step import StepOutput, accuracy


class Reasoning(SampleTask):
    """Statements about pairs; accuracy, and consistency of a sentence's pairs."""

    settings: ReasoningConfig
    curves: ClassVar = ("reasoning",)
    samples = "statements"
    num_classes = 2

    def read_split(self, split: str) -> Dataset:
        """Statements with their labels."""
        data = self.setup.data
        return load_nlvr2(self.root, split, missing_images=data.missing_images)

    def targets(self, samples: Sequence[Statement]) -> dict[str, Tensor]:
        """(N,) int64, 1 where the statement is true; -1 where nobody says."""
        known = [-1 if s.label is None else int(s.label) for s in samples]
        return {"labels": torch.tensor(known)}

    def output(self, logits: Tensor, targets: dict[str, Tensor]) -> StepOutput:
        """Cross entropy over true and false, of the statements whose label is known."""
        labels = targets["labels"]
        known = (labels >= 0).sum()
        summed = functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
        right, _ = accuracy(logits, labels)
        return StepOutput(
            losses={"reasoning": summed / known.clamp(min=1)}, counts={"reasoning": (right, known)}
        )

    def answer(self, place: int) -> bool:
        """Whether a class says that the statement is true."""
        return bool(place)

    def truth(self, sample: Statement) -> bool | None:
        """The label."""
        return sample.label

    def score(self) -> Consistency:
        """Accuracy and consistency."""
        return Consistency()

    def add(self, score: Consistency, sample: Statement, answer: bool) -> None:
        """Count one statement."""
        if sample.label is not None:
            score.add(str(sample.key), answer, sample.label, group=sample.group)

    def write(self, path: Path, answers: dict[Any, Any]) -> None:
        """The CSV of the official script."""
        data = self.setup.data
        split, keys = official_split(data.held_out_split), self.settings.keys_to_answer(data)
        write_nlvr2(path, answers.items(), split=split, identifiers=keys)
