"""Ways to do a training step of a codebook: nearest codes, sums, counts, averages, codes, output.

All follow the same rule, that of vector-quantize-pytorch: rows become the codes of before, averages
of sums and counts start as one row for each code, and the codes are their smoothed quotient. Each
way has a codebook of its own, which its runs move on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import vlp_fast
from vlp_fast import ops

from .nearest import Assign, Truth

Solution = list[Tensor]
"""Indices (N,), rows as codes (N, D), codes after the step (K, D)."""
Step = Callable[[], Solution]
Sums = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]

DECAY, EPS = 0.99, 1e-5


class Codebook:
    """Codes with moving averages, in plain PyTorch."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes.clone()
        self.embed_avg = codes.clone()
        self.cluster_size = codes.new_ones(len(codes))

    def move(self, sums: Tensor, counts: Tensor) -> None:
        """Both averages decay, and the codes are their quotient."""
        self.cluster_size.lerp_(counts, 1 - DECAY)
        self.embed_avg.lerp_(sums, 1 - DECAY)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + EPS) / (total + len(self.codes) * EPS) * total
        torch.div(self.embed_avg, smoothed[:, None], out=self.codes)


def by_ours(x: Tensor, codes: Tensor, *, deterministic: bool = True) -> Step:
    """Our operators, with codes that the update prepares for the next search."""
    book = Codebook(codes)
    prepared = ops.prepare_codes(book.codes, x.dtype)

    def step() -> Solution:
        found = ops.nearest_code(x, book.codes, excluded=-1, prepared=prepared)
        quantised = ops.gather_codes(book.codes, found, x.dtype)
        statistics = ops.code_statistics(
            x, found, len(codes), check_finite=False, deterministic=deterministic
        )
        ops.laplace_ema_update(
            book.codes,
            book.embed_avg,
            book.cluster_size,
            statistics.sums,
            statistics.counts,
            momentum=DECAY,
            eps=EPS,
            prepared=prepared,
        )
        return [found, quantised, book.codes]

    return step


def by_our_layer(x: Tensor, codes: Tensor) -> Step:
    """VectorQuantize, which computes a loss too."""
    return _by_layer(vlp_fast.VectorQuantize, x, codes)


def by_package(layer: Callable[..., Any], x: Tensor, codes: Tensor) -> Step:
    """vector-quantize-pytorch's VectorQuantize."""
    return _by_layer(layer, x, codes)


def composed(assign: Assign, sums_of: Sums, x: Tensor, codes: Tensor) -> Step:
    """A step of two parts: who is nearest, and what their rows add up to."""
    book = Codebook(codes)

    def step() -> Solution:
        indices = assign(x, book.codes)
        quantised = book.codes[indices].to(x.dtype)
        book.move(*sums_of(x, indices, len(codes)))
        return [indices, quantised, book.codes]

    return step


def sums_by_index_add(x: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Row after row; atomic additions on a GPU."""
    sums = torch.zeros(num_codes, x.shape[1], device=x.device)
    counts = torch.zeros(num_codes, device=x.device)
    ones = torch.ones(1, device=x.device).expand(len(x))
    return sums.index_add_(0, indices, x.float()), counts.index_add_(0, indices, ones)


def sums_by_sorting(x: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Rows sorted by their code, then sums of runs: the same bits in every run."""
    order = torch.sort(indices, stable=True).indices
    counts = torch.bincount(indices, minlength=num_codes)
    sums = torch.segment_reduce(x[order].float(), "sum", lengths=counts, unsafe=True)
    return sums, counts.float()


def sums_by_flash_kmeans(update: Callable[..., Any]) -> Sums:
    """flash-kmeans's kernel, which sorts the indices."""

    def sums_of(x: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
        sums = torch.zeros(1, num_codes, x.shape[1], device=x.device)
        counts = torch.zeros(1, num_codes, dtype=torch.int32, device=x.device)
        update(
            x[None],
            indices[None],
            sums,  # only its shape is looked at
            centroid_sums=sums,
            centroid_cnts=counts,
            calculate_new=False,
        )
        return sums[0], counts[0].float()

    return sums_of


def error(truth: Truth, solution: Solution) -> float:
    """The largest of three: excess of the distances, what rows became, and how codes moved.

    Rows and codes are compared with what float64 makes of the very indices, relative to the
    largest number.
    """
    indices, quantised, moved = solution
    excess = truth.excess(indices)
    if excess == float("inf"):
        return excess
    expected = truth.codes[indices].to(quantised.dtype)
    book = Codebook(truth.codes.double())
    counts = torch.bincount(indices, minlength=len(truth.codes)).double()
    sums = torch.zeros_like(book.codes).index_add_(0, indices, truth.x.double())
    book.move(sums, counts)
    return max(excess, _relative(quantised, expected), _relative(moved, book.codes))


def _by_layer(layer: Callable[..., Any], x: Tensor, codes: Tensor) -> Step:
    quantizer = layer(dim=codes.shape[1], codebook_size=len(codes), decay=DECAY, eps=EPS)
    quantizer = quantizer.to(x.device)
    quantizer.codebook = codes
    quantizer._codebook.embed_avg.copy_(codes)

    def step() -> Solution:
        quantised, indices, _ = quantizer(x[None])
        return [indices[0], quantised[0], quantizer.codebook]

    return step


def _relative(found: Tensor, expected: Tensor) -> float:
    difference = (found.double() - expected.double()).abs().max()
    return float(difference / expected.double().abs().max().clamp(min=1e-12))
