"""What the pre-training of both systems has in common."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from vlp_fast.data.examples import Example
from vlp_fast.data.given_paths import shown_roots
from vlp_fast.data.order import Order, SampleOrder
from vlp_fast.data.records import Dataset
from vlp_fast.errors import InputError
from vlp_fast.ops.grid import Grid
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.pretraining.cell_sampling import sampled_cells
from vlp_fast.tasks.pretraining.config import PretrainingConfig
from vlp_fast.tasks.pretraining.curriculum import Curriculum, easiest_first
from vlp_fast.tasks.pretraining.grounding import grounding_figures
from vlp_fast.tasks.pretraining.itm import draw_foreign_caption
from vlp_fast.tasks.pretraining.tagging import Tagging
from vlp_fast.tasks.pretraining.texts import Corruption
from vlp_fast.tasks.pretraining.whole_text_matching import whole_text_matching
from vlp_fast.tasks.reading import read_splits
from vlp_fast.tasks.task import Figures, Stage, Task


class Pretraining(Task):
    """Pictures with captions: tagging first, if asked for, then the objectives of the paper."""

    settings: PretrainingConfig

    needs_boxes = False
    """Whether a data set without boxes is an error."""

    def read(self) -> tuple[Dataset, Dataset]:
        """Captions and boxes."""
        train, held_out = read_splits(self.setup, needs_boxes=self.needs_boxes)
        if train.has_one_caption():
            roots = shown_roots(self.setup.data.root)
            raise InputError(
                f"{roots}: {train.name} has one caption only, and image-text matching needs "
                "foreign ones; add pictures with other captions"
            )
        return train, _with_foreign_captions(held_out, train)

    def arranged(self, train: Dataset) -> Dataset:
        """With a curriculum, pictures with few boxes come first."""
        return easiest_first(train) if self.settings.curriculum else train

    @cached_property
    def corruption(self) -> Corruption:
        """How texts are cut into tokens and masked."""
        return Corruption(
            tokenizer=self.tokenizer,
            max_length=self.setup.data.max_text_length,
            rate=self.settings.mask_rate,
        )

    @cached_property
    def curriculum(self) -> Curriculum:
        """Which pictures a step may see."""
        length = self.setup.length
        steps = (
            int(self.settings.curriculum * length.total(self.train.epoch_length)) * length.shards
        )
        return Curriculum(box_counts=tuple(self.train.table.box_counts.tolist()), steps=steps)

    def stages(self) -> tuple[Stage, ...]:
        """Tagging, then what the paper says."""
        if not self.settings.tagging_steps:
            return (Stage(objective=self),)
        tagging = Tagging(corruption=self.corruption, model=self.learner.model)
        first = Stage(
            objective=tagging, steps=self.settings.tagging_steps, option="--task.tagging-steps"
        )
        return (first, Stage(objective=self))

    def order(self, order: SampleOrder) -> Order:
        """The order, but for steps of the curriculum, which draw from their pool."""
        return self.curriculum.wrap(order)

    def foreign_caption(self, example: Example, draw: np.random.Generator, key: BatchKey) -> str:
        """A caption of another picture; in a curriculum, of one that the step may see."""
        pool = None if key.step is None else self.curriculum.pool(key.step)
        return draw_foreign_caption(key.dataset, example.index, draw, pool=pool)

    def sampled_cells(
        self, examples: list[Example], grid: Grid, key: BatchKey
    ) -> list[list[int] | None]:
        """Cells of each picture that texts are read beside; None for all, as in evaluation."""
        most = None if key.step is None else self.settings.sampled_cells
        return sampled_cells(examples, grid, most=most, seed=self.setup.seed, epoch=key.epoch)

    def notes(self) -> dict[str, list[str]]:
        """That training reads some cells of a picture and evaluation all, where it is so."""
        notes = super().notes()
        if most := self.settings.sampled_cells:
            notes["train"].append(
                f"masked words and matching read at most {most} cells of a picture, drawn anew "
                "each time it is shown (--task.sampled-cells); evaluation reads all"
            )
        return notes

    def figures(self, held_out: HeldOut) -> Figures:
        """Losses and accuracies, matching of whole texts, and use of the picture where known."""
        shown = super().figures(held_out)
        return shown | whole_text_matching(self, held_out) | grounding_figures(self, held_out)

    def captions(self, held_out: HeldOut, examples: list[Example]) -> list[str] | None:
        """Captions written for pictures; None where the model writes none."""
        return None


def _with_foreign_captions(held_out: Dataset, train: Dataset) -> Dataset:
    """Held-out images that all have one caption are matched with those of training."""
    if not held_out.has_one_caption():
        return held_out
    note = "all captions are the same; matching takes foreign ones from training"
    return replace(
        held_out,
        foreign_captions=tuple(dict.fromkeys(train.captions())),
        notes=(*held_out.notes, note),
    )
