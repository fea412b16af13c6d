"""Work that several processes share, item by item: each has the results of all, in their order.

What is made of the results does not depend on the number of processes, down to the bit, as long as
an item's result is that item's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NoReturn, Protocol, TypeVar

from torch import Tensor

from vlp_fast.data.parts import changed
from vlp_fast.errors import InputError
from vlp_fast.tasks.inputs import Inputs

T = TypeVar("T")
Item = TypeVar("Item")

ROUNDS = 8
"""Items that a process measures before results are exchanged: who had a long one may catch up."""


class Team(Protocol):
    """This process among those that measure together."""

    @property
    def rank(self) -> int:
        """Of this process."""

    @property
    def count(self) -> int:
        """Of all of them."""

    def all_values(self, value: T) -> list[T]:
        """A value of each process, in the order of their ranks, on all of them."""

    def fail(self, error: InputError) -> NoReturn:
        """Tell all that this process cannot go on, where they ask for values next."""


class Alone:
    """One process, which has nobody to tell."""

    rank, count = 0, 1

    def all_values(self, value: T) -> list[T]:
        """Its own value."""
        return [value]

    def fail(self, error: InputError) -> NoReturn:
        """Raises the error."""
        raise error


ALONE = Alone()


class FirstShards(Protocol):
    """The first shards of a run as one objective makes them, on the device."""

    def __call__(self, count: int) -> Iterator[Inputs]:
        """So many of them; every process has all."""

    def measured(self, count: int, measure: Callable[[Any], T]) -> Iterator[T]:
        """What `measure` finds in each of them, in their order; the processes share the shards.

        Who iterates may stop early, where all processes do so after the same result.
        """


def shared(
    team: Team,
    count: int,
    make: Callable[[range], Iterator[Item]],
    measure: Callable[[Item], T],
    *,
    visit: Callable[[], None],
    rounds: int = ROUNDS,
) -> Iterator[T]:
    """What `measure` finds in each of `count` items, in their order, on all processes.

    Process r of n has the items r, r + n, r + 2 n, ...: where neighbours are alike, as batches
    sorted by shape are, processes have alike ones.

    Args:
        team: the processes, all of which call this and iterate equally far.
        count: how many items.
        make: the items of given numbers, one behind another, as they are asked for.
        measure: returns what can be pickled; its tensors go to the host.
        visit: called equally often by all processes, once for each item of the busiest: whoever
            stops there stops with all others.
        rounds: items of a process between two exchanges.

    Raises:
        InputError: if `make` or `measure` does on any process; all are told.
    """
    mine = make(range(team.rank, count, team.count))
    most = -(-count // team.count)
    for start in range(0, most, rounds):
        found = _found(team, mine, measure, visit, min(rounds, most - start))
        by_rank = team.all_values(found)
        for place in range(len(by_rank[0])):
            for of_one in by_rank:
                yield from of_one[place : place + 1]


def _found(
    team: Team,
    items: Iterator[Item],
    measure: Callable[[Item], T],
    visit: Callable[[], None],
    rounds: int,
) -> list[T]:
    """Results of this process's next items, on the host."""
    found: list[T] = []
    failed: InputError | None = None
    for _ in range(rounds):
        try:
            found += [measure(item) for item in islice(items, 0 if failed else 1)]
        except InputError as error:
            failed = error  # told where the others listen: they are on their way through the round
        visit()
    if failed is not None:
        team.fail(failed)
    on_host: list[T] = changed(found, Tensor, Tensor.cpu)
    return on_host
