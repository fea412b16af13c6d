"""Sums that do not depend on who added what: a fixed binary tree over the shards of a step.

Floating-point addition is not associative: 1, 2 and 4 processes that add as they come get other
bits. In a tree, the sum of a process's shards is a subtree where both numbers are powers of two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Values = list[Tensor]


class TreeSum:
    """Adds lists of tensors as they come, as pairs of pairs; keeps log2 of them at a time."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, Values]] = []  # number of leaves, sum; the largest first

    def add(self, values: Values) -> None:
        """The next leaf; its tensors may be written to."""
        leaves = 1
        while self._subtrees and self._subtrees[-1][0] == leaves:
            _, earlier = self._subtrees.pop()
            values, leaves = _added(earlier, values), 2 * leaves
        self._subtrees.append((leaves, values))

    def take(self) -> Values:
        """The sum, after which the tree is empty; what is no whole subtree is added from behind."""
        subtrees = [values for _, values in self._subtrees]
        self._subtrees = []
        values = subtrees.pop() if subtrees else []
        while subtrees:
            values = _added(subtrees.pop(), values)
        return values


def tree_sum(leaves: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape, the first of which is written to."""
    tree = TreeSum()
    for leaf in leaves:
        tree.add([leaf])
    return tree.take()[0]


def _added(values: Values, others: Values) -> Values:
    if values:
        torch._foreach_add_(values, others)
    return values
