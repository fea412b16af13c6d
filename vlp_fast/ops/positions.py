"""Linear layers of rows that have positions from a table."""

import torch
import torch.nn.functional as F
from torch import Tensor


def linear_with_positions(
    x: Tensor, weight: Tensor, bias: Tensor, table: Tensor, indices: Tensor
) -> Tensor:
    """Compute x weight^T + bias, plus table rows in the first columns: (T, F).

    Args:
        x: (T, D).
        weight: (F, D).
        bias: (F,).
        table: (R, G), G at most F.
        indices: (T, M) integers; below 0 nothing is added.
    """
    out, columns = F.linear(x, weight, bias), table.shape[1]
    added = table[indices.clamp(min=0)].masked_fill(indices[..., None] < 0, 0.0).sum(1)
    return torch.cat([out[:, :columns] + added, out[:, columns:]], dim=1)
