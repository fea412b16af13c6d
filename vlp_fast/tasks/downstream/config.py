"""Settings of the downstream tasks (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vlp_fast.tasks.config import TaskConfig, TaskSetup

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Task

Head = Literal["linear", "soho", "lxmert", "vilt", "ernie_vil"]


@dataclass(frozen=True, kw_only=True)
class SampleTaskConfig(TaskConfig):
    """What all of them have."""

    head: Head = "soho"
    """Classifier over [CLS]: SOHO's, or another by the name of who uses it."""
    codes: bool = False
    """SOHO: read the codes of the dictionary; off, the features in front of it (section 4.2)."""
    shuffled: bool = False
    """Held-out figures with the pictures of other samples, too: what the text alone tells."""
    keep_together: bool = False
    """Samples about one picture come in the same batch, so that the CNN runs once for them."""


@dataclass(frozen=True, kw_only=True)
class AnsweringConfig(SampleTaskConfig):
    """Visual question answering (VQA v2) as classification among frequent answers."""

    answers: Path | None = None
    """The answers, a JSON list or object as published; looked for in the root if not given."""
    soft_scores: Literal["official", "thirds"] = "official"
    """Target of an answer that n of ten people gave: 0, .3, .6, .9, 1, or min(1, n / 3)."""

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.downstream.answering import Answering

        return Answering(self, setup)


@dataclass(frozen=True, kw_only=True)
class ReasoningConfig(SampleTaskConfig):
    """Visual reasoning (NLVR2): is a statement true of a left and a right picture?"""

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.downstream.reasoning import Reasoning

        return Reasoning(self, setup)


@dataclass(frozen=True, kw_only=True)
class EntailmentConfig(SampleTaskConfig):
    """Visual entailment (SNLI-VE): does a hypothesis follow from a picture?"""

    head: Head = "linear"
    """Classifier over [CLS]: a linear layer in the paper."""
    premise: Literal["image", "image+text"] = "image"
    """What the hypothesis follows from. With the caption that annotators wrote it about this is
    another, easier task, and its figures are a leak."""

    def build(self, setup: TaskSetup) -> Task:
        """Read the data and build the task."""
        from vlp_fast.tasks.downstream.entailment import Entailment

        return Entailment(self, setup)
