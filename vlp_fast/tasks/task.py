"""A task: what is learnt. The engine asks it, and knows none by name.

A task of one's own is a class like these: docs/your_own_task.md has a whole one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from vlp_fast.data.encoded import EncodedReader
from vlp_fast.data.examples import Example, ImageLoader, Reader
from vlp_fast.data.images import read_image
from vlp_fast.data.order import Order, SampleOrder
from vlp_fast.data.records import Dataset
from vlp_fast.data.tokenizer import Tokenizer
from vlp_fast.errors import InputError
from vlp_fast.models.config import ModelConfig
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.tasks.averages import Averages, output_sums
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.config import TaskSetup
from vlp_fast.tasks.held_out import HeldOut, Runtime
from vlp_fast.tasks.inputs import Inputs
from vlp_fast.tasks.reading import read_splits
from vlp_fast.tasks.sharing import FirstShards
from vlp_fast.tasks.step import StepOutput
from vlp_fast.tasks.vocabulary import INIT, choose_tokenizer
from vlp_fast.weights.load import load_weights
from vlp_fast.weights.loaded import Loaded

Figures = dict[str, float]


class ExampleLoader(Protocol):
    """Decodes what a data set has of a number."""

    def load(self, index: int, epoch: int, step: int = 0) -> Any:
        """The example of a sample, or of another if it is broken."""

    def look(self, shown: Sequence[int] | None = None) -> None:
        """Refuse data of which most are broken, of the samples of these numbers or of all."""


class Learner(nn.Module):
    """A model and the heads that a task adds to it; what a run trains and keeps.

    Attributes:
        model: either system.
        heads: of the task; None where the model's own are enough.
    """

    def __init__(self, model: VisionLanguageModel, heads: nn.Module | None) -> None:
        super().__init__()
        self.model = model
        self.heads = heads

    def forward(self, objective: Objective, inputs: Inputs) -> StepOutput:
        """What an objective makes of a batch."""
        return objective.forward(self, inputs)


class Objective(ABC):
    """How examples become a batch, and a batch losses."""

    curves: ClassVar[tuple[str, ...]] = ("loss",)
    """Names of the losses that report.png draws."""

    @abstractmethod
    def collate(self, examples: list[Example], key: BatchKey) -> Inputs:
        """Make a batch of examples, on the host; a pure function of its arguments."""

    @abstractmethod
    def forward(self, learner: Learner, inputs: Any) -> StepOutput:
        """Losses and counts of a batch, without waiting for the device."""

    def begin(
        self,
        learner: Learner,
        batches: FirstShards,
        runtime: Runtime,
    ) -> str | None:
        """What is done once, before the first step that learns this; returns a line about it.

        Args:
            learner: in training mode.
            batches: the first shards of the run; several processes may share them.
            runtime: where to compute.
        """
        return None

    def watched(self, learner: Learner) -> Figures:
        """Figures of the learner's state, for each logged line."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """An objective and how long it is learnt.

    Attributes:
        objective: what is learnt.
        steps: optimiser steps; None for all that are left, in the last stage and in no other.
        option: the setting that says how many, for messages.
    """

    objective: Objective
    steps: int | None = None
    option: str = ""


class Task(Objective):
    """What a run learns: its data, its model with heads, losses, held-out figures, pictures.

    Building one reads the data and builds the model.

    Args:
        settings: the task's own.
        setup: everything else.

    Attributes:
        settings, setup: as given.
        train, held_out: the two data sets.
        train_as_read: the former in the order of its files, by which a run knows it again.
        tokenizer: the run's.
        model_config: the model's configuration, with sizes from the data.
        learner: model and heads; on the CPU until the engine moves it.
        reader: opens the image files of training; in its place the held-out ones have `read_image`.
        loaded: what became of each file of first weights.
        examples, held_out_examples: loaders of either data set: decoded, resized.

    Raises:
        InputError: whatever is wrong with the data or the settings, in one line.
    """

    samples: ClassVar[str] = "images"
    """What a batch has so many of, for lines about the run."""

    def __init__(self, settings: Any, setup: TaskSetup) -> None:
        self.settings, self.setup = settings, setup
        self.train_as_read, self.held_out = self.read()
        self.train = self.arranged(self.train_as_read)
        self.tokenizer: Tokenizer = choose_tokenizer(setup, self.train_as_read)
        self.check()
        self.model_config: ModelConfig = setup.model.sized(
            vocab_size=self.tokenizer.vocab_size,
            num_classes=len(self.train.class_names),
            num_attributes=len(self.train.attribute_names),
        )
        self.reader: Reader = EncodedReader() if setup.data.decoder == "dali" else read_image
        self.examples = self.loader(self.train, setup.data.shorter)
        self.held_out_examples = self.loader(self.held_out, setup.data.shorter_held_out)
        model = self.model_config.build()
        model.canvas_multiple = setup.data.canvas_multiple
        model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.learner = Learner(model, self.heads(self.model_config.width))
        self.loaded = tuple(self._load(path) for path in setup.init)

    def read(self) -> tuple[Dataset, Dataset]:
        """The data sets for training and for evaluation."""
        return read_splits(self.setup)

    def arranged(self, train: Dataset) -> Dataset:
        """The data set for training in the order that `order` counts by."""
        return train

    def check(self) -> None:
        """Refuse settings that are fine alone and not together, or not with this data."""

    def heads(self, width: int) -> nn.Module | None:
        """The heads that the task adds to a model of that width."""
        return None

    @property
    def answer_names(self) -> tuple[str, ...]:
        """What the outputs of the heads stand for, where the data say; a run keeps their order."""
        return ()

    def stages(self) -> tuple[Stage, ...]:
        """What is learnt one after another; the task itself comes last."""
        return (Stage(objective=self),)

    def order(self, order: SampleOrder) -> Order:
        """The order in which training shows its samples."""
        return order

    def notes(self) -> dict[str, list[str]]:
        """What a person should know, besides the notes of the data: of train, of held out."""
        return {"train": [], "held out": []}

    def figures(self, held_out: HeldOut) -> Figures:
        """Held-out figures of the learner, which is in eval mode."""

        def measure(inputs: Inputs) -> tuple[tuple[str, ...], Tensor]:
            with held_out.runtime.autocast():
                return output_sums(self.learner(self, inputs))

        averages = Averages()
        for names, sums in held_out.measured(measure):
            averages.add_sums(names, sums)
        return averages.means()

    def remarks(self, figures: Figures, held_out: HeldOut) -> list[str]:
        """What a person should know about held-out figures of a trained learner, one line each."""
        return []

    def submit(self, held_out: HeldOut, path: Path, say: Callable[[str], None]) -> None:
        """Write the answers to all held-out samples in the form that their server takes.

        Raises:
            InputError: if there is nothing to hand in.
        """
        raise InputError(f"{type(self).__name__}: this task has no answers to hand in")

    def draw(self, figure: Any, held_out: HeldOut) -> None:
        """Draw on a part of report.png, a matplotlib SubFigure; nothing by default."""

    @property
    def panel_rows(self) -> int:
        """Rows of pictures that `draw` needs."""
        return 0

    def _load(self, path: Path) -> Loaded:
        return load_weights(
            self.learner.model,
            path,
            vocabulary=self.tokenizer.vocabulary,
            classes=self.train.class_names,
            attributes=self.train.attribute_names,
            option=INIT,
        )

    def loader(self, dataset: Dataset, shorter: tuple[int, ...] | None) -> ExampleLoader:
        """What decodes the examples of a data set; `shorter` are lengths of the shorter side."""
        return self.image_loader(dataset, shorter)

    def image_loader(self, dataset: Dataset, shorter: tuple[int, ...] | None) -> ImageLoader:
        """What decodes the pictures of a data set."""
        data = self.setup.data
        return ImageLoader(
            dataset=dataset,
            shorter=shorter,
            longer=data.longer,
            seed=self.setup.seed,
            max_pixels=data.max_pixels,
            one_size=data.one_size,
            cache=data.cache,
            # Figures do not depend on who decodes in training, nor do pictures that are drawn.
            reader=self.reader if dataset is self.train else read_image,
        )
