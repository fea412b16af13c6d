"""The processes that train one run together, and what they tell one another besides tensors.

`torchrun` starts them and says in the environment which is which; alone, a process is a world of
one. Values of the host go over a group of their own, by gloo, whatever the gradients go over: no
word about a signal or an error waits for a GPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from vlp_fast.engine.config import TrainConfig
from vlp_fast.errors import InputError, ToldElsewhere

T = TypeVar("T")

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another, beyond what the watchdog grants to a step."""

LOSS = ("closed by peer", "reset by peer", "Broken pipe", "Timed out waiting")
"""How gloo says that another process is gone."""


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: of this process.
        count: of all of them.
        host: the group for values of the host; None if there is one process.
    """

    rank: int = 0
    count: int = 1
    host: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def share_of(self, count: int) -> range:
        """This process's part of so many things, of which all processes have equally many."""
        return range(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def all_values(self, value: T) -> list[T]:
        """A value of each process, in the order of their ranks, on all of them.

        Raises:
            InputError: if one of them is at the end of `together` instead, as that describes.
        """
        return [value] if self.count == 1 else self._gather(None, value)

    def first_value(self, value: T) -> T:
        """The value of the first process, on all of them; raises as `all_values` does."""
        return self.all_values(value)[0]

    def fail(self, error: InputError) -> NoReturn:
        """Tell all that this process cannot go on, wherever they ask for values next."""
        if self.count > 1:
            self._gather(str(error), None)
        raise error

    def _gather(self, error: str | None, value: Any) -> list[Any]:
        # Always the same exchange: one that failed may meet others that ask for something else.
        said: list[Any] = [None] * self.count
        dist.all_gather_object(said, (error, value), group=self.host)
        for rank, (text, _) in enumerate(said):
            if text is not None and self.is_first:
                raise ToldTogether(text if rank == 0 else f"process {rank} of {self.count}: {text}")
            if text is not None:
                raise ToldElsewhere(text)
        return [value for _, value in said]


class ToldTogether(InputError):
    """On the first process, what is wrong for one of them: all of them know."""


ALONE = World()


@contextlib.contextmanager
def world_of(train: TrainConfig) -> Iterator[World]:
    """The world that the environment describes, until the end of the context.

    Args:
        train: the run's, whose device they take.

    Raises:
        InputError: if there is no GPU for each.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield World()
        return
    is_gpu = train.device != "cpu" and torch.cuda.is_available()
    if is_gpu:
        _take_gpu()
    timeout = patience(train)
    rank, store = int(os.environ["RANK"]), _store(count, timeout)
    backend = "nccl" if is_gpu else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timeout)
    try:
        host = dist.new_group(backend="gloo", timeout=timeout)
        world = World(rank=dist.get_rank(), count=count, host=host)
        world.all_values(None)  # a group connects at its first use, while all are there
        yield world
    except BaseException:
        _abort()
        raise
    dist.destroy_process_group()


def _abort() -> None:
    """Leave where something failed: nobody is waited for, and whoever waits here is told so.

    Destroying the groups would wait for what is under way over NCCL, to which others may never
    come (torch 2.11's `destroy_process_group`; its `_abort_process_group` ends gloo's, too).
    """
    abort = getattr(dist.distributed_c10d, "_abort_process_group", dist.destroy_process_group)
    with contextlib.suppress(Exception):
        abort()


def patience(train: TrainConfig) -> timedelta:
    """How long a process waits for another: where one hangs, its watchdog speaks before."""
    return PATIENCE + timedelta(minutes=train.watchdog_minutes)


def _take_gpu() -> None:
    """Each process of a machine has a GPU of its own."""
    environment, there = os.environ, torch.cuda.device_count()
    wanted = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    if wanted > there:
        kind = InputError if environment["RANK"] == "0" else ToldElsewhere
        raise kind(
            f"{wanted} processes on a machine where torch sees {there} GPUs, and each takes one; "
            "start fewer, or give --train.device cpu"
        )
    torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")))


def _store(count: int, timeout: timedelta) -> Store | None:
    """Where the processes find one another; None for torch's own way.

    Torchrun starts processes anew on the same store, where torch 2.11 finds the addresses of those
    that are gone. On one machine all processes count the attempts alike, and each has its own part.
    """
    environment = os.environ
    if environment.get("GROUP_WORLD_SIZE") != "1":
        return None
    is_there = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = TCPStore(
        environment["MASTER_ADDR"],
        int(environment["MASTER_PORT"]),
        count,
        is_master=not is_there and environment["RANK"] == "0",
        timeout=timeout,
    )
    return PrefixStore(f"attempt-{environment['TORCHELASTIC_RESTART_COUNT']}", store)


@contextlib.contextmanager
def told_of_loss(world: World) -> Iterator[None]:
    """Where another process has ended, what it had to say is what matters.

    Raises:
        InputError: on the first process, in place of an error of the network.
        ToldElsewhere: on the others.
    """
    try:
        yield
    except RuntimeError as error:
        if world.count == 1 or not is_loss(error):
            raise
        kind = InputError if world.is_first else ToldElsewhere
        raise kind(
            "another process of this run has ended; the same command goes on from the newest "
            "checkpoint, if one was written"
        ) from None


def is_loss(error: RuntimeError) -> bool:
    """Whether an error is that of a process whose peer is gone."""
    return isinstance(error, dist.DistError) or any(words in str(error) for words in LOSS)


@contextlib.contextmanager
def together(world: World) -> Iterator[None]:
    """What is wrong for one process within this context is wrong for all of them.

    Raises:
        InputError: on the first process, what the first that failed was told.
        ToldElsewhere: on the others.
    """
    try:
        yield
    except (ToldTogether, ToldElsewhere):
        raise
    except InputError as error:
        world.fail(error)
    world.all_values(None)
