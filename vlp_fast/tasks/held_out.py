"""The held-out samples as a trained learner is shown them: what a task measures its figures on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch

from vlp_fast.data.examples import Example
from vlp_fast.data.loader import Loader
from vlp_fast.data.order import EvaluationOrder
from vlp_fast.data.subsample import hash_order, subsample
from vlp_fast.metrics.example_set import ExampleSet
from vlp_fast.tasks.batch_key import BatchKey

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Task


class Runtime(Protocol):
    """Where a model computes, and in which number format."""

    @property
    def device(self) -> torch.device:
        """The device of the model."""

    def autocast(self) -> AbstractContextManager[None]:
        """The context of forward and loss."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Held-out samples, always the same ones, always paired and corrupted alike.

    Where the setup asks for fewer than there are, they are spread over the split by a hash of their
    ids, whatever the run, and fewer are a part of more. Of NLVR2 whole groups are taken, a sentence
    with all its pairs, so that consistency means the same; the last group may lack some.

    Attributes:
        task: whose they are.
        runtime: where its learner computes.
        batch_size: samples shown at once.
        report: gets lines about samples that are broken and replaced.
        source: of a mixture, the number of the data set that they are of; None for all.
    """

    task: Task
    runtime: Runtime
    batch_size: int
    report: Callable[[Iterable[str]], None] = lambda lines: None
    source: int | None = None

    @cached_property
    def indices(self) -> list[int]:
        """Numbers of the samples that an evaluation looks at, ascending."""
        dataset = self.task.held_out
        chosen = subsample(dataset.units(), self.task.setup.held_out_images)
        if self.source is None:
            return chosen
        return [index for index in chosen if dataset.sources[index] == self.source]

    def parts(self) -> list[HeldOut]:
        """Those of each data set of a mixture; none where all are of one."""
        parts = [replace(self, source=n) for n in range(len(self.task.held_out.titles))]
        of_some = [part for part in parts if part.indices]
        return of_some if len(of_some) > 1 else []

    @property
    def count(self) -> int:
        """How many these are."""
        return len(self.indices)

    def described(self) -> str:
        """What figures are of: split, number of samples, and a hash of their ids."""
        dataset = self.task.held_out
        examples, keys = ExampleSet(), dataset.keys()
        for index in self.indices:
            examples.add(keys[index])
        return examples.described(
            dataset.name if self.source is None else dataset.titles[self.source]
        )

    def batches(self) -> Iterator[Any]:
        """All of them as batches on the device."""
        for inputs in self.collated():
            self.report(inputs.problems)
            yield inputs.to(self.runtime.device)

    def collated(self) -> Iterator[Any]:
        """The batches, still on the host."""
        task = self.task
        aspects = task.held_out.aspects()[self.indices]
        order = EvaluationOrder(self.indices, self.batch_size, aspects=aspects)

        def collate(examples: list[Example], epoch: int, _: int) -> Any:
            return task.collate(examples, BatchKey(task.held_out, epoch, None))

        loader = Loader(
            order=order,
            load=task.held_out_examples.load,
            collate=collate,
            num_workers=0,
            steps=range(order.steps_per_epoch),
        )
        for _, inputs in loader:
            yield inputs

    def examples(self, count: int) -> list[Any]:
        """So many held-out examples, decoded, spread over the split; fewer are the first of more.

        As many as there are, even where an evaluation looks at fewer.
        """
        chosen = hash_order(self.task.held_out.units())[:count]
        return [self.task.held_out_examples.load(index, 0) for index in chosen]

    def similar_examples(self) -> Iterator[list[Any]]:
        """Examples in batches of similar shape, none of one picture if there are more.

        Decoded batch by batch: all of them together may not fit in memory.
        """
        aspects, size = self.task.held_out.aspects(), self.batch_size
        order = sorted(self.indices, key=lambda i: (aspects[i], i))
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [batches[-2] + batches[-1]]  # alone, it has none to be swapped with
        for batch in batches:
            yield [self.task.held_out_examples.load(index, 0) for index in batch]
