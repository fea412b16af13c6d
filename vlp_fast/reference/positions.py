"""A linear layer whose output gets rows of a table of positions added, in plain torch.

    out = x weight^T + bias;   out[t, :G] += sum_m table[indices[t, m]]

Sums are float32 (float64 for float64) and rounded once. An index below 0 adds nothing.
"""

import torch
from torch import Tensor

from vlp_fast.reference.precision import widen


def linear_with_positions(
    x: Tensor, weight: Tensor, bias: Tensor, table: Tensor, indices: Tensor
) -> Tensor:
    """Output (T, F) in the dtype of x."""
    out = _product(x, weight).add_(bias)
    positioned = out[:, : table.shape[1]]
    if len(table):
        for index in indices.unbind(1):
            rows = table.index_select(0, index.clamp(min=0)).to(out.dtype)
            positioned.add_(rows.masked_fill_((index < 0)[:, None], 0))
    return out.to(x.dtype)


def sum_by_index(x: Tensor, indices: Tensor, num_rows: int) -> Tensor:
    """Sum of the rows of x (T, G) that have an index, counted M times: (num_rows, G), wide."""
    x = widen(x)
    total = x.new_zeros(num_rows + 1, x.shape[1])  # the last one of indices below 0
    for index in indices.unbind(1):
        place = index.long().masked_fill(index < 0, num_rows)
        if x.is_cuda:  # sorts, where `index_add_` adds in whatever order threads come
            total.index_put_((place,), x, accumulate=True)
        else:
            total.index_add_(0, place, x)
    return total[:-1].clone()


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """A new tensor x weight^T, float32 for half precision."""
    if x.is_cuda and x.dtype in (torch.float16, torch.bfloat16):
        return torch.mm(x, weight.T, out_dtype=torch.float32)
    return widen(x) @ widen(weight).T
