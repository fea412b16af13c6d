"""Which shards of a run's steps a process computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from vlp_fast.engine.world import World


class ShardShare(Sequence[int]):
    """The numbers of the shards that one of several processes computes, in their order.

    Shard s of step n has the number n * shards + s. A process has a contiguous part of each step.

    Args:
        steps: [first, one past the last) optimiser steps.
        shards: of a step.
        world: the processes, which share the shards of a step evenly.
    """

    def __init__(self, steps: range, shards: int, world: World) -> None:
        self._first = steps.start * shards
        self._shards = shards
        self._mine = world.share_of(shards)
        self._length = len(steps) * len(self._mine)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[int]: ...
    def __getitem__(self, place: int | slice) -> int | Sequence[int]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        step, part = divmod(place % len(self), len(self._mine))
        return self._first + step * self._shards + self._mine[part]
