"""Ways to find the nearest of K codes, and how far an answer is from the truth.

Each takes (N, D) rows of any precision and (K, D) float32 codes, does all of its work inside (no
norm is at hand from before, because the codes of a training step are new), and returns (N,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .case import compiled

Assign = Callable[[Tensor, Tensor], Tensor]

CHUNK_SCORES = {"cpu": 2**21, "cuda": 2**25}
"""Scores of a chunk of rows: 8 MiB for the caches of a CPU, 128 MiB to fill a GPU."""
EXACT = 1e-9
"""Excess of the squared distance, relative, that float64 does not tell from none."""
FINE, ROUGH = 1e-4, 1e-2
"""The same that products in float32 may make, and those in TF32 or half precision."""


def by_cdist(x: Tensor, codes: Tensor) -> Tensor:
    """What one writes first; N x K distances."""
    return torch.cdist(x.float(), codes).argmin(1)


def by_products(x: Tensor, codes: Tensor) -> Tensor:
    """The largest `x d - |d|^2 / 2` in float32, in chunks of rows."""
    bias = codes.square().sum(1).mul(-0.5)
    parts = _chunks(x, codes)
    return torch.cat([torch.addmm(bias, part.float(), codes.T).argmax(1) for part in parts])


def by_half_products(x: Tensor, codes: Tensor) -> Tensor:
    """The same by matrix units: rows and codes in half precision, sums in float32."""
    return _by_half(_best_of, x, codes)


def by_compiled_half_products(x: Tensor, codes: Tensor) -> Tensor:
    """The same with the arg-max compiled into one pass over the products of a chunk."""
    return _by_half(compiled(_best_of, dynamic=True), x, codes)


def by_flash_kmeans(assign: Callable[..., Tensor]) -> Assign:
    """flash-kmeans's kernel, which wants norms and codes in the rows' precision."""

    def find(x: Tensor, codes: Tensor) -> Tensor:
        rows = x[None]
        norms = torch.linalg.vector_norm(rows, dim=-1, dtype=torch.float32)
        return assign(rows, codes.to(x.dtype)[None], norms.square())[0].long()

    return find


def in_tf32(run: Callable[..., Any]) -> Callable[..., Any]:
    """The same with float32 products in TF32."""

    def rounded(*args: Any) -> Any:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            return run(*args)
        finally:
            torch.set_float32_matmul_precision(before)

    return rounded


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows and codes, and the nearest codes by float64."""

    x: Tensor
    codes: Tensor

    def excess(self, indices: Tensor) -> float:
        """By how much a chosen code is further than the nearest at most, squared, relative."""
        return float(self._excess(indices).max())

    def wrong(self, indices: Tensor) -> float:
        """Share of the rows whose code is not the nearest."""
        return float((self._excess(indices) > EXACT).double().mean())

    def _excess(self, indices: Tensor) -> Tensor:
        is_code = (indices >= 0) & (indices < len(self.codes))
        if indices.shape != self.x.shape[:1] or not bool(is_code.all()):
            return torch.full((1,), float("inf"))
        nearest = self._distances(self._nearest)
        return (self._distances(indices) - nearest) / nearest.clamp(min=1e-12)

    @cached_property
    def _nearest(self) -> Tensor:
        codes = self.codes.double()
        bias = codes.square().sum(1).mul(-0.5)
        parts = self.x.split(2**24 // len(codes))
        return torch.cat([torch.addmm(bias, part.double(), codes.T).argmax(1) for part in parts])

    def _distances(self, indices: Tensor) -> Tensor:
        pairs = zip(self.x.split(2**15), indices.split(2**15), strict=True)
        return torch.cat(
            [(rows.double() - self.codes[chosen]).square().sum(1) for rows, chosen in pairs]
        )


def _chunks(x: Tensor, codes: Tensor) -> tuple[Tensor, ...]:
    """Rows whose scores fit."""
    return torch.split(x, max(1, CHUNK_SCORES[x.device.type] // len(codes)))


def _by_half(best_of: Callable[..., Tensor], x: Tensor, codes: Tensor) -> Tensor:
    half = x.dtype if x.dtype in (torch.float16, torch.bfloat16) else torch.bfloat16
    operand, bias = codes.to(half).T, codes.square().sum(1).mul(0.5)
    return torch.cat([best_of(part.to(half), operand, bias) for part in _chunks(x, codes)])


def _best_of(part: Tensor, operand: Tensor, bias: Tensor) -> Tensor:
    if part.is_cuda:
        return (torch.mm(part, operand, out_dtype=torch.float32) - bias).argmax(1)
    return (part.float() @ operand.float() - bias).argmax(1)  # the same, where there is no such mm
