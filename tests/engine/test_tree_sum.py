"""Sums over shards are the same bits, however many processes share them."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from vlp_fast.engine.tree_sum import TreeSum, tree_sum


def leaves(count: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(count)
    return [torch.randn(1000, generator=draw) * 10.0 ** (n % 5) for n in range(count)]


@pytest.mark.parametrize("processes", [1, 2, 4, 8, 16])
def test_the_same_bits_whoever_adds_what(processes: int) -> None:
    share = 16 // processes
    parts = [tree_sum(leaves(16)[rank * share : (rank + 1) * share]) for rank in range(processes)]
    total = tree_sum(parts)
    assert torch.equal(total, tree_sum(leaves(16)))
    in_turn = leaves(16)[0]
    for leaf in leaves(16)[1:]:
        in_turn += leaf
    assert not torch.equal(total, in_turn)  # or this would show nothing


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 12])
def test_any_number_of_shards_is_added_up_whole(count: int) -> None:
    exact = sum(Fraction(float(x[0])) for x in leaves(count))
    assert float(tree_sum(leaves(count))[0]) == pytest.approx(float(exact), rel=1e-5)


def test_few_sums_are_kept_at_a_time() -> None:
    tree = TreeSum()
    for leaf in leaves(32):
        tree.add([leaf])
        assert len(tree._subtrees) <= 5
    assert len(tree.take()) == 1
    assert tree.take() == []
