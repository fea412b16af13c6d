"""Each shard of a run is computed once, whatever number of processes shares it."""

from collections.abc import Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_fast.engine.shares import ShardShare
from vlp_fast.engine.world import World


@given(st.integers(0, 10**9), st.integers(0, 20), st.integers(1, 6), st.sampled_from([1, 2, 3, 8]))
def test_processes_divide_the_shards_of_each_step(
    first: int, steps: int, each: int, count: int
) -> None:
    shards = each * count
    shares = [
        list(ShardShare(range(first, first + steps), shards, World(rank=rank, count=count)))
        for rank in range(count)
    ]
    assert sorted(chain(*shares)) == list(range(first * shards, (first + steps) * shards))
    for share in shares:
        assert share == sorted(share)
        assert [number // shards for number in share] == [
            step for step in range(first, first + steps) for _ in range(each)
        ]
        parts = {(number % shards) // each for number in share}
        assert len(parts) <= 1  # contiguous, so that its sum is a subtree


def test_it_is_a_sequence() -> None:
    share: Sequence[int] = ShardShare(range(2, 4), 4, World(rank=1, count=2))
    assert (len(share), share[0], share[3], share[-1], share[1:3]) == (4, 10, 15, 15, [11, 14])
    for place in (4, -5):
        with pytest.raises(IndexError):
            share[place]
