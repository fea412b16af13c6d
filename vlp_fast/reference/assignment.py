"""Linear sum assignment by SciPy, on the host: of a batch of matrices, and of packed targets."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor


def assign(cost: Tensor, num_rows: Tensor | None, maximize: bool) -> Tensor:
    """Assign the first `num_rows` (B,) rows of each matrix of (B, n, m): (B, n), -1 for none."""
    count, height = cost.shape[:2]
    heights = [height] * count if num_rows is None else num_rows.tolist()
    return _assign(cost, ((b, 0, stop) for b, stop in enumerate(heights)), maximize)


def assign_targets(cost: Tensor, cu_targets: Tensor) -> Tensor:
    """Assign targets to queries by cost (A, T, Q), image by image: (A, T), -1 for none."""
    images = list(pairwise(cu_targets.tolist()))
    problems = ((layer, *bounds) for layer in range(len(cost)) for bounds in images)
    return _assign(cost, problems, maximize=False)


def _assign(cost: Tensor, problems: Iterable[tuple[int, int, int]], maximize: bool) -> Tensor:
    """Column of each row of cost (A, T, Q), by problems (layer, first row, last row)."""
    host = cost.double().cpu().numpy()
    column_of_row = np.full(host.shape[:2], -1, dtype=np.int64)
    for layer, start, stop in problems:
        rows, columns = scipy_assignment(host[layer, start:stop], maximize=maximize)
        column_of_row[layer, start + rows] = columns
    return torch.from_numpy(column_of_row).to(cost.device)
