"""Ways to do a training step of a codebook: nearest codes, sums, counts, averages, codes, output.

Rows become the codes of before. `by_dictionary` moves codes towards the mean of their rows, as SOHO
does; all others follow vector-quantize-pytorch: averages of sums and counts start as one row for
each code, and the codes are their smoothed quotient. Each way has a codebook of its own, which its
runs move on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import vlp_fast

from .case import compiled, relative
from .nearest import Assign, Rows

DECAY, EPS = 0.99, 1e-5


class Solution(NamedTuple):
    """What a step finds and leaves behind."""

    indices: Tensor
    """(N,)."""
    quantised: Tensor
    """(N, D), rows as codes."""
    codes: Tensor
    """(K, D), after the step."""
    is_of_means: bool = False
    """Whether the codes move as SOHO's."""


Step = Callable[[], Solution]
Sums = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


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


def by_dictionary(rows: Rows, *, deterministic: bool = True) -> Step:
    """SOHO's layer as its users call it, in training."""
    options: dict[str, Any] = {"momentum": DECAY, "deterministic": deterministic}
    dictionary = vlp_fast.VisualDictionary(*rows.codes.shape, **options).to(rows.x.device)
    dictionary.embed.copy_(rows.codes)

    def step() -> Solution:
        quantised, indices = dictionary(rows.x)
        return Solution(indices, quantised, dictionary.embed, is_of_means=True)

    return step


def by_layer(layer: Callable[..., Any], rows: Rows) -> Step:
    """vector-quantize-pytorch's VectorQuantize, or ours; both compute a loss too."""
    num_codes, width = rows.codes.shape
    quantizer = layer(dim=width, codebook_size=num_codes, decay=DECAY, eps=EPS)
    quantizer = quantizer.to(rows.x.device)
    quantizer.codebook = rows.codes
    quantizer._codebook.embed_avg.copy_(rows.codes)

    def step() -> Solution:
        quantised, indices, _ = quantizer(rows.x[None])
        return Solution(indices[0], quantised[0], quantizer.codebook)

    return step


def composed(assign: Assign, sums_of: Sums, rows: Rows) -> Step:
    """A step of two parts: who is nearest, and what their rows add up to."""
    x, book = rows.x, Codebook(rows.codes)

    def step() -> Solution:
        indices = assign(x, book.codes)
        quantised = book.codes[indices].to(x.dtype)
        book.move(*sums_of(x, indices, len(book.codes)))
        return Solution(indices, quantised, book.codes)

    return step


def sums_by_index_add(x: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Row after row; atomic additions on a GPU."""
    sums = torch.zeros(num_codes, x.shape[1], device=x.device)
    counts = torch.zeros(num_codes, device=x.device)
    ones = torch.ones(1, device=x.device).expand(len(x))
    return sums.index_add_(0, indices, x.float()), counts.index_add_(0, indices, ones)


def sums_by_compiled_index_add(x: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """The same compiled."""
    sums: tuple[Tensor, Tensor] = compiled(sums_by_index_add, dynamic=True)(x, indices, num_codes)
    return sums


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


def error(rows: Rows, solution: Solution) -> float:
    """The largest of three: excess of the distances, what rows became, and how codes moved.

    Rows and codes are compared with what float64 makes of the very indices, relative to the
    largest number.
    """
    indices, quantised, moved, is_of_means = solution
    excess = rows.excess(indices)
    if excess == float("inf"):
        return excess
    expected = rows.codes[indices].to(quantised.dtype)
    book = Codebook(rows.codes.double())
    counts = torch.bincount(indices, minlength=len(rows.codes)).double()
    sums = torch.zeros_like(book.codes).index_add_(0, indices, rows.x.double())
    if is_of_means:
        is_hit = counts > 0
        means = sums[is_hit] / counts[is_hit, None]
        book.codes[is_hit] = book.codes[is_hit].lerp(means, 1 - DECAY)
    else:
        book.move(sums, counts)
    return max(excess, relative(quantised, expected), relative(moved, book.codes))
