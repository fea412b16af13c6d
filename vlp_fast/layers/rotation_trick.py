"""The rotation trick: another gradient than straight through for rows that became codes.

The forward pass returns the code. The backward pass takes the map that turns a row onto its code
(a rotation and a change of length) for constant, so that a gradient keeps its angle to the code
when it arrives at the row. Second derivatives, too, take it for constant.

Shape suffixes: N rows, D width.
"""

from typing import Any

import torch
from torch import Tensor

TINY = 1e-6
"""Least norm that is divided by."""


def rotate_to(x: Tensor, codes: Tensor) -> Tensor:
    """Returns the codes, (N, D); the gradient turns from the code's direction into the row's.

    Args:
        x: (N, D) rows, in the dtype of the codes.
        codes: (N, D), one for each row; no gradient.

    Source: Fifty et al. 2025, section 4.2 (arXiv 2410.06424).
    """
    rotated: Tensor = _RotateTo.apply(x, codes)  # type: ignore[no-untyped-call]
    return rotated


class _RotateTo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(x, codes)
        return codes.clone()  # what is saved must not change with what is returned

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Transposes `|d| / |x| (1 - 2 w w' + 2 q u')`, of unit vectors u and q, w between them."""
        wide = torch.promote_types(gradient.dtype, torch.float32)
        x, codes = (saved.detach().to(wide) for saved in ctx.saved_tensors)
        length, target = (_norm(rows) for rows in (x, codes))
        u, q = x / length.clamp(min=TINY), codes / target.clamp(min=TINY)
        w = u + q
        w = w / _norm(w).clamp(min=TINY)
        g = gradient.to(wide)
        turned = g - 2 * _dot(w, g) * w + 2 * _dot(q, g) * u
        return (turned * (target / length.clamp(min=TINY))).to(gradient.dtype), None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1, keepdim=True)


def _norm(rows: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return norm
