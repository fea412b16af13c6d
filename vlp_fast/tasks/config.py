"""What every task's settings have, and what a task is built from (torch-free)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_fast.data.config import DataConfig
from vlp_fast.data.given_paths import check_roots
from vlp_fast.models.config import ModelConfig

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class TaskConfig(ABC):
    """Settings of what a run learns; the base of every task's."""

    @abstractmethod
    def build(self, setup: TaskSetup) -> Task:
        """Read the data, fix the model's sizes by it, and build the task with its model.

        Raises:
            InputError: whatever is wrong with the data or the settings, in one line.
        """

    @property
    def abilities(self) -> tuple[str, ...]:
        """What a model is good for that has learnt this: names of `Predictor`'s methods."""
        return ()

    def look_first(self, data: DataConfig) -> None:
        """Refuse data of a run where that takes no time: at least their folders are there.

        Raises:
            InputError: what is wrong, in one line.
        """
        check_roots(data)

    def look_before_submission(self, data: DataConfig) -> None:
        """Refuse what could not be handed in, before anything is answered; by default nothing more.

        Raises:
            InputError: if nobody takes answers to the held-out split, or it cannot be read.
        """
        self.look_first(data)

    def answer_names(self, data: DataConfig) -> Sequence[str]:
        """What the outputs of the task's heads stand for, where the data say.

        Raises:
            InputError: if what says so cannot be read.
        """
        return ()


@dataclass(frozen=True, kw_only=True)
class RunLength:
    """How many optimiser steps a run has, whatever its data.

    Attributes:
        steps: optimiser steps; None for as many as the epochs have.
        epochs: passes over the samples.
        batch_size: samples a shard.
        shards: of an optimiser step.
    """

    steps: int | None
    epochs: float
    batch_size: int
    shards: int

    def per_epoch(self, samples: int) -> float:
        """Optimiser steps a pass over so many samples."""
        return samples // self.batch_size / self.shards

    def total(self, samples: int) -> int:
        """Optimiser steps of the whole run."""
        if self.steps is not None:
            return self.steps
        return max(1, round(self.epochs * self.per_epoch(samples)))


@dataclass(frozen=True, kw_only=True)
class TaskSetup:
    """What a task is built from, besides its own settings.

    Attributes:
        data: where the data are and how they are shown.
        model: the model's configuration, whose sizes the data decide.
        length: of the run.
        seed: of everything random.
        held_out_images: how many held-out samples an evaluation looks at, at most; which, see
            `HeldOut`.
        init: weights that a new run starts from; none where it goes on.
        vocabulary: vocab.txt of the run that goes on; None for a new run.
    """

    data: DataConfig
    model: ModelConfig
    length: RunLength
    seed: int
    held_out_images: int
    init: tuple[Path, ...] = ()
    vocabulary: Path | None = None
