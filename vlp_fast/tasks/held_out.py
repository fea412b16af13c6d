"""The held-out samples as a trained learner is shown them: what a task measures its figures on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from vlp_fast.data.examples import Example
from vlp_fast.data.loader import Loader
from vlp_fast.data.order import EvaluationOrder
from vlp_fast.data.subsample import hash_order, subsample
from vlp_fast.metrics.example_set import ExampleSet
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.sharing import ALONE, Team, shared

if TYPE_CHECKING:
    from vlp_fast.tasks.task import Task

T = TypeVar("T")


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

    Several processes measure together: with `measured` and `measured_examples` each looks at its
    share of the batches and has what was found in all of them.

    Attributes:
        task: whose they are.
        runtime: where its learner computes.
        batch_size: samples shown at once.
        report: gets lines about samples that are broken and replaced.
        visit: called at each batch, by all processes equally often: all may stop there.
        team: the processes.
        progress: gets how many of how many parts of a long measurement are done.
        folder: where a long measurement keeps what is done until it is whole; None keeps nothing.
        source: of a mixture, the number of the data set that they are of; None for all.
    """

    task: Task
    runtime: Runtime
    batch_size: int
    report: Callable[[Iterable[str]], None] = lambda lines: None
    visit: Callable[[], None] = lambda: None
    team: Team = ALONE
    progress: Callable[[int, int], None] = lambda done, total: None
    folder: Path | None = None
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

    def measured(self, measure: Callable[[Any], T]) -> Iterator[T]:
        """What a function finds in each batch, on the device, in their order.

        Processes share the batches, and all have all results: what is made of these is the same
        bits for any number of processes. All of them iterate to the end.

        Args:
            measure: of a batch alone; returns what can be pickled, whose tensors go to the host.

        Raises:
            InputError: if samples cannot be shown, on any process.
        """

        def found(inputs: Any) -> tuple[tuple[str, ...], T]:
            return inputs.problems, measure(inputs.to(self.runtime.device))

        count = self._order.steps_per_epoch
        for problems, value in shared(self.team, count, self._collated, found, visit=self.visit):
            self.report(problems)
            yield value

    def measured_examples(self, measure: Callable[[list[Any]], T]) -> Iterator[T]:
        """What a function finds in each batch of `similar_examples`, shared as by `measured`."""
        batches = self._similar()

        def load(numbers: Sequence[int]) -> Iterator[list[Any]]:
            return map(self._loaded, (batches[number] for number in numbers))

        return shared(self.team, len(batches), load, measure, visit=self.visit)

    def batches(self) -> Iterator[Any]:
        """All of them as batches on the device; each process has all."""
        for inputs in self.collated():
            self.report(inputs.problems)
            self.visit()
            yield inputs.to(self.runtime.device)

    def collated(self) -> Iterator[Any]:
        """The batches, still on the host."""
        return self._collated(range(self._order.steps_per_epoch))

    @cached_property
    def _order(self) -> EvaluationOrder:
        aspects = self.task.held_out.aspects()[self.indices]
        return EvaluationOrder(self.indices, self.batch_size, aspects=aspects)

    def _collated(self, numbers: Sequence[int]) -> Iterator[Any]:
        """Batches of these numbers."""
        task = self.task

        def collate(examples: list[Example], epoch: int, _: int) -> Any:
            return task.collate(examples, BatchKey(task.held_out, epoch, None))

        loader = Loader(
            order=self._order,
            load=task.held_out_examples.load,
            collate=collate,
            num_workers=0,
            steps=numbers,
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

        Decoded batch by batch: all of them together may not fit in memory. Each process has all.
        """
        for batch in self._similar():
            self.visit()
            yield self._loaded(batch)

    def _similar(self) -> list[list[int]]:
        aspects, size = self.task.held_out.aspects(), self.batch_size
        order = sorted(self.indices, key=lambda i: (aspects[i], i))
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [batches[-2] + batches[-1]]  # alone, it has none to be swapped with
        return batches

    def _loaded(self, batch: list[int]) -> list[Any]:
        return [self.task.held_out_examples.load(index, 0) for index in batch]
