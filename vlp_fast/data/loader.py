"""Steps from worker processes: one item of the loader is one whole step, loaded and collated.

The loader has no state. It shows the steps of a range, and step n is the same wherever the range
begins and however many workers there are, as long as `load` and `collate` are pure functions.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from vlp_fast.data.examples import Example
from vlp_fast.data.order import Order, rank_share
from vlp_fast.errors import InputError

T = TypeVar("T")

# Forked workers share the records and the image cache for free; started anew, each would need a
# copy of all that `load` and `collate` hold. Without fork (Windows) the main process loads.
_CAN_FORK = "fork" in multiprocessing.get_all_start_methods()


class Loader(Generic[T]):
    """Iterates over (step, collated examples) for the steps of a range.

    Args:
        order: which samples a step shows.
        load: `load(index, epoch)` gives one example.
        collate: `collate(examples, epoch, step)` gives what a step needs.
        num_workers: loading processes, each with one thread; 0, or without fork, loads in this one.
        start_step: first global step.
        end_step: one past the last.
        rank: of this process among those that share a batch.
        world_size: number of those.
        pin_memory: let a thread move batches to page-locked memory (they need `pin_memory()`
            unless they consist of tensors, tuples and lists).
    """

    def __init__(
        self,
        *,
        order: Order,
        load: Callable[[int, int], Example],
        collate: Callable[[list[Example], int, int], T],
        num_workers: int,
        start_step: int,
        end_step: int,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ) -> None:
        self._steps = range(start_step, end_step)
        self._source = _Steps(order, load, collate, rank, world_size)
        self._num_workers = min(num_workers, len(self._steps)) if _CAN_FORK else 0
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[tuple[int, T]]:
        """Yield the steps in order.

        Raises:
            InputError: what `load` or `collate` raised, in whichever process.
        """
        loader: DataLoader[tuple[int, T] | InputError] = DataLoader(
            self._source,
            batch_size=None,
            sampler=self._steps,
            num_workers=self._num_workers,
            collate_fn=_unchanged,
            pin_memory=self._pin_memory,
            worker_init_fn=_start_worker if self._num_workers else None,
            multiprocessing_context="fork" if self._num_workers else None,
            # Its own: torch's loader draws a seed when it starts, and a resumed run starts later.
            generator=torch.Generator(),
        )
        for item in loader:
            if isinstance(item, InputError):
                raise item
            yield item


class _Steps(TorchDataset[tuple[int, T] | InputError]):
    """The steps as a map-style data set of torch."""

    def __init__(
        self,
        order: Order,
        load: Callable[[int, int], Example],
        collate: Callable[[list[Example], int, int], T],
        rank: int,
        world_size: int,
    ) -> None:
        self._order = order
        self._load = load
        self._collate = collate
        self._rank = rank
        self._world_size = world_size

    def __getitem__(self, step: int) -> tuple[int, T] | InputError:
        """Load a step. Bad input is returned: raised, it would arrive with a worker's traceback."""
        epoch, batch = self._order.batch(step)
        indices = rank_share(batch, self._rank, self._world_size)
        try:
            examples = [self._load(index, epoch) for index in indices]
            return step, self._collate(examples, epoch, step)
        except InputError as error:
            return error


def _unchanged(item: Any) -> Any:
    return item


def _start_worker(worker: int) -> None:
    """One thread a worker; signals are for the main process, which then ends the workers."""
    torch.set_num_threads(1)
    # A full collection would write to every record, and so copy the whole data set into the worker.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_heed_parent, daemon=True).start()


def _heed_parent() -> None:
    """End by a SIGTERM of the main process, and by no other.

    Ignored altogether it would be a trap: a main process that ends by an exception, whose
    traceback keeps torch's loader alive, tells workers so and waits for them.
    """
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
