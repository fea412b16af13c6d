"""From a configuration to the objects of a run: data, tokenizer, model, objective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from vlp_fast.data.examples import Example, ImageLoader
from vlp_fast.data.given_paths import check_root
from vlp_fast.data.leak import without_training_pictures
from vlp_fast.data.loader import Loader
from vlp_fast.data.order import EvaluationOrder, SampleOrder
from vlp_fast.data.records import Dataset
from vlp_fast.data.sources import load_dataset
from vlp_fast.data.tokenizer import Tokenizer, load_vocabulary, train_vocabulary
from vlp_fast.engine.checkpoint import complete_checkpoints
from vlp_fast.engine.config import E2EVLPRun, SohoRun
from vlp_fast.engine.curriculum import Curriculum, easiest_first
from vlp_fast.engine.data_notes import data_notes
from vlp_fast.engine.precision import Precision, choose_precision
from vlp_fast.engine.same_data import identify
from vlp_fast.errors import InputError
from vlp_fast.models import build_model
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.e2e_vlp import E2EVLPInputs, E2EVLPPretraining
from vlp_fast.tasks.soho import SohoInputs, SohoPretraining
from vlp_fast.tasks.tagging import Tagging, TaggingInputs
from vlp_fast.tasks.texts import Corruption

Run = E2EVLPRun | SohoRun
Inputs = E2EVLPInputs | SohoInputs
"""A batch of pre-training."""
Batch = TaggingInputs | Inputs
Objective = E2EVLPPretraining | SohoPretraining


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that training and evaluation share.

    Attributes:
        run: the configuration, with the model's sizes taken from the data.
        train, held_out: the two pools of images.
        tokenizer: the run's vocabulary.
        model: on its device.
        tagging: how the first steps become batches and losses, if the run begins with tagging.
        objective, held_out_objective: how either pool becomes batches and losses afterwards.
        images, held_out_images: decoded and resized examples of either pool.
        curriculum: which pictures a step may see.
        precision: device and number format.
        identity: what a checkpoint keeps of the data, to be compared with theirs later.
        notes: what a person should know about the data, one line each.
    """

    run: Run
    train: Dataset
    held_out: Dataset
    tokenizer: Tokenizer
    model: E2EVLP | Soho
    tagging: Tagging
    objective: Objective
    held_out_objective: Objective
    images: ImageLoader
    held_out_images: ImageLoader
    curriculum: Curriculum
    precision: Precision
    identity: dict[str, Any]
    notes: tuple[str, ...]

    @cached_property
    def order(self) -> SampleOrder:
        """Which image is where in which step of training."""
        train = self.run.train
        return SampleOrder(
            num_samples=len(self.train.records),
            batch_size=train.batch_size,
            seed=train.seed,
            aspects=self.train.aspects(),
        )

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return _total_steps(self.run, self.steps_per_epoch)

    @property
    def steps_per_epoch(self) -> float:
        """Optimiser steps a pass over the images."""
        return self.order.steps_per_epoch / self.run.optim.accumulate

    def batches(self, start: int, end: int) -> Iterator[tuple[int, Batch]]:
        """The micro-batches [start, end) of training."""
        tagging = self.run.objective.tagging_steps * self.run.optim.accumulate

        def collate(examples: list[Example], epoch: int, step: int) -> Batch:
            if step < tagging:
                return self.tagging.collate(examples)
            return self.objective.collate(examples, epoch, self.curriculum.pool(step))

        return iter(
            Loader(
                order=self.curriculum.wrap(self.order),
                load=self.images.load,
                collate=collate,
                num_workers=self.run.data.num_workers,
                start_step=start,
                end_step=end,
                pin_memory=self.precision.device.type == "cuda",
            )
        )

    def held_out_batches(self) -> Iterator[tuple[int, Inputs]]:
        """The held-out images, always the same, always paired and masked alike."""
        order = EvaluationOrder(
            self.held_out_count,
            self.run.train.batch_size,
            aspects=self.held_out.aspects()[: self.held_out_count],
        )

        def collate(examples: list[Example], epoch: int, _: int) -> Inputs:
            return self.held_out_objective.collate(examples, epoch)

        return iter(
            Loader(
                order=order,
                load=self.held_out_images.load,
                collate=collate,
                num_workers=0,
                start_step=0,
                end_step=order.steps_per_epoch,
            )
        )

    @property
    def held_out_count(self) -> int:
        """Images that an evaluation looks at."""
        return min(self.run.train.held_out_images, len(self.held_out.records))

    def held_out_examples(self, count: int | None = None) -> list[Example]:
        """The first held-out images, decoded; all that an evaluation looks at if None."""
        return [
            self.held_out_images.load(index, 0)
            for index in range(min(count or self.held_out_count, len(self.held_out)))
        ]


def build_experiment(run: Run) -> Experiment:
    """Read the data, fix the model's sizes by it, and build everything on the device.

    Raises:
        InputError: whatever is wrong with the data or the settings, in one line.
    """
    train, held_out = _datasets(run)
    tokenizer = _tokenizer(run, train)
    _check(run, train)
    run = _sized(run, train, tokenizer)
    identity = identify(train, held_out, run.data)
    notes = data_notes(run, train, held_out)
    precision = choose_precision(run.train)
    model = build_model(run.model).to(precision.device)
    model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if run.objective.curriculum:
        train = easiest_first(train)
    steps = _planned_steps(run, train)
    return Experiment(
        run=run,
        train=train,
        held_out=held_out,
        tokenizer=tokenizer,
        model=model,
        tagging=Tagging(
            corruption=_corruption(run, tokenizer),
            geometry=model.grid_sizes,
            pad_multiple=model.pad_multiple,
        ),
        objective=_objective(run, train, tokenizer, model),
        held_out_objective=_objective(run, held_out, tokenizer, model),
        images=_images(run, train, run.data.shorter),
        held_out_images=_images(run, held_out, run.data.shorter_held_out),
        curriculum=Curriculum(
            box_counts=tuple(len(r.boxes) for r in train.records),
            steps=int(run.objective.curriculum * steps) * run.optim.accumulate,
        ),
        precision=precision,
        identity=identity,
        notes=notes,
    )


def _check(run: Run, train: Dataset) -> None:
    """Settings that are fine alone and not together, or not with this data."""
    if run.data.max_text_length > run.model.max_positions:
        raise InputError(
            f"--data.max-text-length {run.data.max_text_length} exceeds the model's "
            f"{run.model.max_positions} positions; lower it or raise --model.max-positions"
        )
    steps = _planned_steps(run, train)
    if steps <= run.objective.tagging_steps:
        length = f"--steps {steps}" if run.steps else f"--train.epochs {run.train.epochs:g}"
        raise InputError(
            f"{length}: the run has {steps} steps and ends before those of "
            f"--objective.tagging-steps {run.objective.tagging_steps}; raise it or lower those"
        )
    if isinstance(run, SohoRun) and run.model.codebook_init == "data":
        _check_codebook(run)
    if train.has_one_caption():
        raise InputError(
            f"{run.data.root}: {train.name} has one caption only, and image-text matching needs "
            "foreign ones; add pictures with other captions"
        )


def _check_codebook(run: SohoRun) -> None:
    samples, codes = run.train.codebook_samples, run.model.num_codes
    if samples < codes:
        raise InputError(
            f"--train.codebook-samples {samples} is too few to start {codes} codes from; raise it "
            "or lower --model.num-codes"
        )


def _datasets(run: Run) -> tuple[Dataset, Dataset]:
    data = run.data
    root = check_root(data.root)
    read = partial(
        load_dataset,
        root,
        layout=data.layout,
        karpathy_file=data.karpathy_file,
        needs_boxes=isinstance(run, E2EVLPRun) and run.objective.detection,
        missing_images=data.missing_images,
        objects_vocabulary=data.objects_vocabulary,
        attributes_vocabulary=data.attributes_vocabulary,
    )
    train = read(data.train_split)
    held_out = without_training_pictures(read(data.held_out_split), train)
    if run.train.batch_size > len(train):
        raise InputError(
            f"{data.root}: {train.name} has {len(train)} images, --train.batch-size is "
            f"{run.train.batch_size}; give 1 to {len(train)}"
        )
    if train.num_boxes and held_out.num_boxes and train.class_names != held_out.class_names:
        raise InputError(
            f"{data.root}: {train.name} and {held_out.name} have other classes of objects; make "
            "the categories of both instance files the same"
        )
    return train, _with_foreign_captions(held_out, train)


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


def _planned_steps(run: Run, train: Dataset) -> int:
    return _total_steps(run, len(train) // run.train.batch_size / run.optim.accumulate)


def _total_steps(run: Run, steps_per_epoch: float) -> int:
    if run.steps is not None:
        return run.steps
    return max(1, round(run.train.epochs * steps_per_epoch))


def _images(run: Run, dataset: Dataset, shorter: tuple[int, ...] | None) -> ImageLoader:
    return ImageLoader(
        dataset=dataset,
        shorter=shorter,
        longer=run.data.longer,
        seed=run.train.seed,
        max_pixels=run.data.max_pixels,
        cache=run.data.cache,
    )


def _tokenizer(run: Run, train: Dataset) -> Tokenizer:
    path = run.data.vocabulary
    given = load_vocabulary(path) if path else None
    # Without a checkpoint nothing depends on the kept one, and it may be of other data.
    if run.resume == "auto" and complete_checkpoints(run.directory):
        kept = load_vocabulary(run.directory / "vocab.txt")
        if given is not None and given.vocabulary != kept.vocabulary:
            raise InputError(
                f"{run.directory / 'vocab.txt'}: the run's vocabulary is another than "
                f"--data.vocabulary {path}; leave the option out or give another --run-dir"
            )
        return kept
    return given or train_vocabulary(train.captions(), run.data.vocabulary_size)


def _sized(run: Run, train: Dataset, tokenizer: Tokenizer) -> Run:
    if isinstance(run, SohoRun):
        return replace(run, model=replace(run.model, vocab_size=tokenizer.vocab_size))
    model = replace(
        run.model,
        vocab_size=tokenizer.vocab_size,
        num_classes=max(len(train.class_names), 1),
        num_attributes=len(train.attribute_names),
    )
    return replace(run, model=model)


def _corruption(run: Run, tokenizer: Tokenizer) -> Corruption:
    return Corruption(
        tokenizer=tokenizer,
        max_length=run.data.max_text_length,
        rate=run.objective.mask_rate,
    )


def _objective(run: Run, dataset: Dataset, tokenizer: Tokenizer, model: E2EVLP | Soho) -> Objective:
    corruption = _corruption(run, tokenizer)
    if isinstance(run, SohoRun):
        return SohoPretraining(
            objective=run.objective,
            switches=run.model,
            dataset=dataset,
            corruption=corruption,
            geometry=model.grid_sizes,
            seed=run.train.seed,
        )
    return E2EVLPPretraining(
        objective=run.objective,
        dataset=dataset,
        corruption=corruption,
        geometry=model.grid_sizes,
        seed=run.train.seed,
    )
