"""Packed attention as tests call it, and dense attention of each sequence, in float64."""

import torch
from torch import Tensor

from vlp_fast import ops


def bounds(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int()


def rows(
    lengths: list[int],
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    heads: int = 3,
    width: int = 8,
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (sum(lengths), heads, width)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def packed(q: Tensor, k: Tensor, v: Tensor, nq: list[int], nk: list[int], **options) -> Tensor:
    return ops.attention(
        q,
        k,
        v,
        bounds(nq),
        bounds(nk),
        max_seqlen_q=max(nq),
        max_seqlen_k=max(nk),
        **options,
    )


def dense(q, k, v, nq, nk, *, causal=False, scale=None, keep=None) -> Tensor:
    """Attention of one sequence and head after the other, in float64."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    parts = []
    sequences = zip(*(x.double().split(n) for x, n in ((q, nq), (k, nk), (v, nk))), strict=True)
    for number, (query, key, value) in enumerate(sequences):
        scores = torch.einsum("ine,jne->nij", query, key) * scale
        if causal:
            i, j = torch.arange(len(query))[:, None], torch.arange(len(key))
            scores = scores.masked_fill(j > i + len(key) - len(query), -torch.inf)
        visible = (scores > -torch.inf).any(-1, keepdim=True) if len(key) else scores.sum(-1) > 1
        weights = scores.softmax(-1) if len(key) else scores
        if len(key):
            weights = torch.where(visible, weights, 0.0)
        if keep is not None:
            weights = weights * keep[number]
        parts.append(torch.einsum("nij,jne->ine", weights, value))
    return torch.cat(parts)
