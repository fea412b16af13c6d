"""Ways to solve a ragged batch of assignment problems, each as its users would write it.

Costs (T, Q) are packed: the rows of image after image, at most Q of each. A solution is the column
of each row, (T,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor

import vlp_fast

from .peers import TORCH_LINEAR_ASSIGNMENT

Solve = Callable[[], Tensor]


def split(cost: Tensor, counts: Sequence[int]) -> list[Any]:
    """The matrix of each image, on the host."""
    host = cost.cpu().numpy()
    return [host[start:stop] for start, stop in pairwise(accumulate(counts, initial=0))]


def padded(cost: Tensor, counts: Sequence[int]) -> Tensor:
    """The same as a batch (B, most, Q); a row of zeros takes whichever query is left over."""
    return torch.nn.utils.rnn.pad_sequence(list(cost.split(list(counts))), batch_first=True)


def by_loop(solve: Callable[[Any], tuple[Any, Any]], cost: Tensor, counts: Sequence[int]) -> Solve:
    """A function from a matrix to rows and columns, image by image on the host."""

    def run() -> Tensor:
        found = [solve(matrix)[1] for matrix in split(cost, counts)]
        return torch.from_numpy(np.concatenate(found)).to(cost.device)

    return run


def by_scipy(cost: Tensor, counts: Sequence[int]) -> Solve:
    """SciPy, as DETR does."""
    return by_loop(scipy_assignment, cost, counts)


def by_batch(
    solve: Callable[[Tensor], Tensor], cost: Tensor, counts: Sequence[int]
) -> tuple[Solve, Callable[[Tensor], Tensor]]:
    """A function from padded costs to the columns of all rows, and how to drop the padding."""
    batch, lengths = padded(cost, counts), torch.tensor(counts, device=cost.device)
    is_row = torch.arange(batch.shape[1], device=cost.device) < lengths[:, None]
    return lambda: solve(batch), lambda columns: columns[is_row]


def torch_linear_assignment(
    device: str,
) -> tuple[Callable[[Tensor], Tensor] | None, str]:
    """The peer where it has a path of its own, or why not."""
    found = TORCH_LINEAR_ASSIGNMENT.load()
    if found is None:
        return None, TORCH_LINEAR_ASSIGNMENT.absence
    if device != "cuda":
        return None, "on a CPU it is the loop over SciPy"
    return found, ""


def ours(cost: Tensor, counts: Sequence[int]) -> tuple[Solve, Callable[[Any], Tensor]]:
    """Ours on the same problems, padded: the call, and how to read its result."""
    rows = torch.tensor(counts, device=cost.device)
    solve: Any = vlp_fast.linear_sum_assignment
    return by_batch(lambda batch: solve(batch, num_rows=rows)[1], cost, counts)


def excess(cost: Tensor, counts: Sequence[int], columns: Tensor) -> float:
    """How far the columns (T,) of all rows are from the optimum, relative; infinite if invalid."""
    worst = 0.0
    found = columns.cpu().split(list(counts))
    for matrix, chosen in zip(split(cost.double(), counts), found, strict=True):
        if len(set(chosen.tolist())) < len(matrix) or bool((chosen < 0).any()):
            return float("inf")
        total = matrix[np.arange(len(matrix)), chosen.numpy()].sum()
        best = matrix[scipy_assignment(matrix)].sum()
        worst = max(worst, (total - best) / max(1.0, abs(best)))
    return worst
