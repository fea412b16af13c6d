"""The straight-through estimator and the commitment loss, each with its gradient in closed form.

SOHO (CVPR 2021), eq. 5: `f(v) = sg[d - v] + v` has the code's value and passes its gradient to the
row. The commitment loss is van den Oord et al.'s (2017, eq. 3, third term); SOHO has none.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


class Quantised(NamedTuple):
    """Rows replaced by codes.

    Attributes:
        quantised: (N, D) in the rows' dtype, the codes in value and the rows in gradient.
        indices: (N,) int64 in [0, K); 0 for rows that are not valid or not finite.
        commitment_loss: () float32, mean of (x - d)^2 over the entries of the rows that count, with
            its gradient towards the rows; 0 if there are none.
    """

    quantised: Tensor
    indices: Tensor
    commitment_loss: Tensor


def straight_through(rows: Tensor, codes: Tensor) -> Tensor:
    """Returns a copy of codes (N, D), whose gradient goes to rows (N, D), unchanged."""
    result: Tensor = _StraightThrough.apply(rows, codes)  # type: ignore[no-untyped-call]
    return result


def commitment_loss(rows: Tensor, codes: Tensor, counts: Tensor) -> Tensor:
    """Computes the mean squared distance of rows to their codes; no gradient goes to the codes.

    It may be sent backward where the rows need no gradient, too, like the loss of
    vector-quantize-pytorch.

    Args:
        rows: (N, D) float.
        codes: (N, D) float, the code of each row.
        counts: (N,) bool, rows that count. The others may hold anything.
    """
    result: Tensor = _CommitmentLoss.apply(rows, codes, counts)  # type: ignore[no-untyped-call]
    # A graph that is compiled cannot mark what it made itself.
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        result.requires_grad_()
    return result


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, codes: Tensor) -> Tensor:
        return codes.clone()  # may be changed in place, and the codes be kept for a loss

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _CommitmentLoss(torch.autograd.Function):
    """Keeps the rows and the codes, which are there anyway, and no difference of them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, codes: Tensor, counts: Tensor) -> Tensor:
        entries = counts.sum().clamp(min=1) * rows.shape[1]
        ctx.save_for_backward(rows, codes, counts, entries)
        return _difference(rows, codes, counts).square().sum() / entries

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        rows, codes, counts, entries = ctx.saved_tensors
        slope = 2 * gradients[0] / entries
        return (_difference(rows, codes, counts) * slope).to(rows.dtype), None, None


def _difference(rows: Tensor, codes: Tensor, counts: Tensor) -> Tensor:
    return torch.where(counts[:, None], rows.float() - codes.float(), 0.0)
