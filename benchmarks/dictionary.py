"""The visual dictionary's search for the nearest code beside what one would write in PyTorch.

Names of cases: `N` rows of width `D` against `K` codes: a step of the small recipes, and SOHO's
2048 codes of width 768.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from vlp_fast import ops

from .case import Case, Cases, Provider, Setting, ours

SHAPES = ((4096, 512, 128), (4096, 2048, 768))
"""Rows, codes, width."""

ROWS_AT_ONCE = 1024
TOLERANCE = 1e-4
"""Of the squared distance, relative: float32 does not tell nearer codes apart."""


def cases(setting: Setting) -> Cases:
    """The cases of the dictionary by name."""
    found = {}
    for rows, codes, width in SHAPES:
        few = 64 * setting.batch(rows // 64)
        name = f"nearest-N{few}-K{codes}-D{width}"
        found[name] = partial(_nearest, setting, name, (few, codes, width))
    return found


def _nearest(setting: Setting, name: str, shape: tuple[int, int, int]) -> Case:
    rows, num_codes, width = shape
    generator = setting.generator()
    x = torch.randn(rows, width, generator=generator, device=setting.device)
    codes = torch.randn(num_codes, width, generator=generator, device=setting.device)
    return Case(
        operator="dictionary",
        name=name,
        providers={
            **ours(lambda: ops.nearest_code(x, codes), ["nearest_code"], setting.device),
            "cdist + argmin": Provider(run=lambda: torch.cdist(x, codes).argmin(1)),
            "addmm + argmax, chunked": Provider(run=partial(_by_products, x, codes)),
        },
        error=partial(_excess, x, codes),
        tolerance=TOLERANCE,
        num_bytes=x.nbytes + codes.nbytes + 8 * rows,
        flops=2 * rows * num_codes * width,
    )


def _by_products(x: Tensor, codes: Tensor) -> Tensor:
    """The largest `x d - |d|^2 / 2`, in chunks of rows whose products stay small."""
    half = codes.square().sum(1).mul(-0.5)
    chunks = x.split(ROWS_AT_ONCE)
    return torch.cat([torch.addmm(half, chunk, codes.T).argmax(1) for chunk in chunks])


def _excess(x: Tensor, codes: Tensor, indices: Tensor) -> float:
    """By how much a chosen code is further than the nearest, in float64, relative."""
    distances = torch.cdist(x.double(), codes.double()).square()
    chosen = distances.gather(1, indices[:, None]).squeeze(1)
    nearest = distances.min(1).values
    return float(((chosen - nearest) / nearest.clamp(min=1e-12)).max())
