"""Steps from worker processes: one item of the loader is one whole step, loaded and collated.

The loader has no state. It shows given steps, and step n is the same whatever comes before it and
however many workers there are, as long as `load` and `collate` are pure functions.
Worker i of n loads every n-th step, so their answers are taken in turn and nothing is put in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from vlp_fast.data.ahead import ahead
from vlp_fast.data.examples import Example
from vlp_fast.data.order import Order
from vlp_fast.data.worker import CAN_FORK, Worker, answers

T = TypeVar("T")


class Loader(Generic[T]):
    """Iterates over (step, collated examples) for given steps.

    Args:
        order: which samples a step shows.
        load: `load(index, epoch, step)` gives one example.
        collate: `collate(examples, epoch, step)` gives what a step needs.
        num_workers: loading processes, each with one thread; 0, or without fork, loads in this one.
        steps: their numbers, ascending.
        pin_memory: let a thread move batches to page-locked memory by their `pin_memory()`.
    """

    def __init__(
        self,
        *,
        order: Order,
        load: Callable[[int, int, int], Example],
        collate: Callable[[list[Example], int, int], T],
        num_workers: int,
        steps: Sequence[int],
        pin_memory: bool = False,
    ) -> None:
        self._steps = steps
        self._order = order
        self._load = load
        self._collate = collate
        self._num_workers = min(num_workers, len(self._steps)) if CAN_FORK else 0
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Yield the steps in order.

        Raises:
            InputError: what `load` or `collate` raised, in whichever process, and if a worker ended
                or cannot hand its batch over.
        """
        with ExitStack() as at_end:
            workers = []
            for _ in range(self._num_workers):
                workers.append(Worker(self._load_step))
                at_end.callback(workers[-1].close)
            values: Iterator[T] = map(self._load_step, self._steps)
            if workers:
                values = answers(workers, self._steps)
            if self._pin_memory:
                values = ahead(map(_pinned, values), len(self))
            yield from zip(self._steps, values, strict=True)

    def _load_step(self, step: int) -> T:
        epoch, batch = self._order.batch(step)
        examples = [self._load(index, epoch, step) for index in batch]
        return self._collate(examples, epoch, step)


def _pinned(value: Any) -> Any:
    return value.pin_memory()
