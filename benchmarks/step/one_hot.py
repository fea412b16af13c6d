"""The published dictionary of SOHO: all distances, one-hot products, averages of sums and counts.

Huang et al. (CVPR 2021), section 3.2, and what is known of the code that was published with it: the
moving averages start at zero, codes are their smoothed quotient, rows become the codes after the
step at the index from before it, and padding counts. N rows, K codes, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-5


class OneHotDictionary(nn.Module):
    """Replaces rows by codes, and moves the codes in training."""

    embed: Tensor
    cluster_size: Tensor
    cluster_sum: Tensor
    embed_avg: Tensor

    def __init__(self, codes: int, width: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("embed", torch.randn(codes, width))
        self.register_buffer("cluster_size", torch.zeros(codes))
        self.register_buffer("cluster_sum", torch.zeros(codes))
        self.register_buffer("embed_avg", torch.zeros(codes, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, D) to the codes (N, D), straight through, and their indices (N,)."""
        rows = x.detach().float()
        squares = rows.square().sum(1, keepdim=True) + self.embed.square().sum(1)
        indices = (squares - 2 * rows @ self.embed.T).argmin(1)
        chosen = functional.one_hot(indices, len(self.embed)).to(rows.dtype)
        if self.training:
            self._move(chosen, rows)
        codes = (chosen @ self.embed).to(x.dtype)
        return x + (codes - x).detach(), indices

    @torch.no_grad()
    def _move(self, chosen: Tensor, rows: Tensor) -> None:
        counts, sums = chosen.sum(0), chosen.T @ rows
        self.cluster_sum.add_(counts)
        self.cluster_size.mul_(self.momentum).add_(counts, alpha=1 - self.momentum)
        self.embed_avg.mul_(self.momentum).add_(sums, alpha=1 - self.momentum)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + EPS) / (total + len(counts) * EPS) * total
        self.embed.copy_(self.embed_avg / smoothed[:, None])
