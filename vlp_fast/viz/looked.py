"""A run's model and the held-out samples that parts of its page are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_fast.data.examples import Example
from vlp_fast.data.sample_loader import SampleExample
from vlp_fast.engine.experiment import Experiment
from vlp_fast.errors import InputError
from vlp_fast.inference.description import read_description
from vlp_fast.inference.pictures import Opened
from vlp_fast.inference.predictor import Predictor
from vlp_fast.inference.trained import trained_of
from vlp_fast.ops.boxes import cxcywh_to_xyxy
from vlp_fast.tasks.downstream.sample_task import SampleTask
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.task import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """What parts of a page are made of.

    Attributes:
        model: the run's, to be asked.
        held_out: the samples that figures are of, and what shows more of them.
    """

    model: Predictor
    held_out: HeldOut

    @property
    def task(self) -> Task:
        """The run's."""
        return self.held_out.task

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the objects that held-out pictures are annotated with."""
        return self.task.held_out.class_names

    def pictures(self, count: int) -> list[Example]:
        """So many held-out pictures at most, spread over the split."""
        return [picture for picture, _ in self.texts(count)]

    def texts(self, count: int) -> list[tuple[Example, str]]:
        """Pictures, each with a text that belongs to it: a caption, or what is asked of it."""
        found: list[tuple[Example, str]] = []
        for example in self.held_out.examples(count):
            found.append(self._with_text(example))
        return found

    def with_words(self, count: int) -> list[tuple[Example, str]]:
        """Those of so many `texts` that have a word.

        Raises:
            InputError: if none has.
        """
        found = [(example, text) for example, text in self.texts(count) if text.strip()]
        if not found:
            raise InputError(f"none of {count} held-out pictures has a text; give data with texts")
        return found

    def _with_text(self, example: Any) -> tuple[Example, str]:
        if isinstance(example, SampleExample):
            assert isinstance(self.task, SampleTask)
            return example.pictures[0], self.task.text(example.sample)
        return example, example.captions[0] if example.captions else ""


def look(experiment: Experiment) -> Looked:
    """The model of a restored experiment, loaded once, beside its data.

    Raises:
        InputError: if the folder does not describe the model.
    """
    about = read_description(experiment.run.directory)
    experiment.learner.eval().requires_grad_(False)
    trained = trained_of(about, experiment.learner, experiment.task.tokenizer)
    return Looked(model=Predictor(trained), held_out=experiment.held_out())


def opened(example: Example) -> Opened:
    """A held-out picture as the model is asked about it: not decoded again, and as it was shown."""
    return Opened(example=example, size=example.size)


def corners_of(example: Example) -> np.ndarray:
    """(n, 4) annotated boxes, (x1, y1, x2, y2) in [0, 1] of the picture."""
    found: np.ndarray = cxcywh_to_xyxy(example.boxes.float()).clamp(0, 1).numpy()
    return found


def share_of(part: float) -> str:
    """A share as people read it."""
    return f"{100 * part:.0f} %"
