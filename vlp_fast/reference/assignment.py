"""Linear sum assignment by SciPy, on the host: of a batch of matrices, and of packed targets."""

from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor


def assign(cost: Tensor, num_rows: Tensor | None, maximize: bool) -> Tensor:
    """Assign the first `num_rows` (B, 1) rows of each matrix of (B, n, m): (B, n), -1 for none."""
    host = cost.double().cpu().numpy()
    heights = [host.shape[1]] * len(host) if num_rows is None else num_rows.flatten().tolist()
    column_of_row = np.full(host.shape[:2], -1, dtype=np.int64)
    for matrix, height, answer in zip(host, heights, column_of_row, strict=True):
        rows, columns = scipy_assignment(matrix[:height], maximize=maximize)
        answer[rows] = columns
    return torch.from_numpy(column_of_row).to(cost.device)


def assign_targets(cost: Tensor, cu_targets: Tensor) -> Tensor:
    """Assign targets to queries by cost (A, T, Q), image by image: (A, T), -1 for none."""
    bounds = cu_targets.tolist()
    host = cost.double().cpu().numpy()
    matches = np.full(host.shape[:2], -1, dtype=np.int64)
    for layer, layer_matches in zip(host, matches, strict=True):
        for start, stop in pairwise(bounds):
            targets, queries = scipy_assignment(layer[start:stop])
            layer_matches[start + targets] = queries
    return torch.from_numpy(matches).to(cost.device)
