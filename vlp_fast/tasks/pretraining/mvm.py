"""Masked visual modelling (SOHO section 3.3, eq. 7).

All cells of one label of the picture are replaced by the mask embedding and the model names
the label. Foreign pairs are masked as well, or masking itself would tell whether a pair
matches; only matching pairs have the loss. Which cells are masked is known on the device only,
so the loss weighs all cells of the matching pairs by 0 or 1 instead of selecting rows.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def masked_code_loss(logits: Tensor, labels: Tensor, masked: Tensor) -> Tensor:
    """Mean cross entropy over the masked cells; 0 if none is masked.

    Args:
        logits: (M, K) scores over the dictionary, any floating dtype.
        labels: (M,) int64, the dictionary index of each cell.
        masked: (M,) bool.
    """
    weights = masked.float()
    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1.0)


def masked_code_accuracy(logits: Tensor, labels: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    """How many masked cells are named right, and how many are masked."""
    right = (logits.argmax(dim=-1) == labels) & masked
    return right.sum(), masked.sum()
