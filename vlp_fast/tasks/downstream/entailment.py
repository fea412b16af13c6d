"""SNLI-VE: does a hypothesis follow from a picture, contradict it, or neither?

The hypothesis alone is read beside the picture. The captions that annotators wrote hypotheses about
are there too, and whoever reads them has another, easier task (soho's issue 3, OFA's issue 357):
`--task.premise image+text` is for those who want to measure how much they give away.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.records import Dataset
from vlp_fast.data.samples import Hypothesis
from vlp_fast.data.sources.snli_ve import LABELS, load_snli_ve, official_split
from vlp_fast.data.submissions.snli_ve import write_snli_ve
from vlp_fast.metrics.class_accuracy import ClassAccuracy
from vlp_fast.tasks.downstream.config import EntailmentConfig
from vlp_fast.tasks.downstream.sample_task import SampleTask
from vlp_fast.tasks.step import StepOutput, accuracy


class Entailment(SampleTask):
    """Three classes by a linear layer on [CLS] (SOHO section 4.2.4)."""

    settings: EntailmentConfig
    curves: ClassVar = ("entailment",)
    samples = "hypotheses"
    num_classes = len(LABELS)

    def read_split(self, split: str) -> Dataset:
        """Hypotheses with their labels."""
        data = self.setup.data
        return load_snli_ve(self.root, split, missing_images=data.missing_images)

    def text(self, sample: Hypothesis) -> str:
        """The hypothesis; behind the caption of the picture where that is asked for."""
        if self.settings.premise == "image":
            return sample.text
        return f"{sample.premise} {sample.text}"

    def notes(self) -> dict[str, list[str]]:
        """The leak, where the premise is text too."""
        notes = super().notes()
        if self.settings.premise != "image":
            leak = (
                "--task.premise image+text reads the caption that each hypothesis was written "
                "about: a leak; compare these figures with no others of SNLI-VE"
            )
            for lines in notes.values():
                lines.append(leak)
        return notes

    def targets(self, samples: Sequence[Hypothesis]) -> dict[str, Tensor]:
        """(N,) int64 places in `LABELS`."""
        return {"labels": torch.tensor([LABELS.index(s.label) for s in samples])}

    def output(self, logits: Tensor, targets: dict[str, Tensor]) -> StepOutput:
        """Cross entropy over the three."""
        labels = targets["labels"]
        return StepOutput(
            losses={"entailment": functional.cross_entropy(logits, labels)},
            counts={"entailment": accuracy(logits, labels)},
        )

    def answer(self, place: int) -> str:
        """The label of that place."""
        return LABELS[place]

    def truth(self, sample: Hypothesis) -> str:
        """The label."""
        return sample.label

    def score(self) -> ClassAccuracy:
        """Accuracy, in all and by label."""
        return ClassAccuracy(LABELS)

    def add(self, score: ClassAccuracy, sample: Hypothesis, answer: str) -> None:
        """Count one hypothesis."""
        score.add(sample.key, answer, sample.label)

    def write(self, path: Path, answers: dict[Any, Any]) -> None:
        """JSON lines by pairID."""
        data = self.setup.data
        split, keys = official_split(data.held_out_split), self.settings.keys_to_answer(data)
        write_snli_ve(path, answers.items(), split=split, pair_ids=keys)
