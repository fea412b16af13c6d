"""Attention over many batches of different shapes, as training has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from . import attention_ways as ways
from .attention_peers import NEEDS_GPU, PADDED, padded
from .attention_ways import Attend
from .case import Case, Provider, Setting, ours
from .coco_mix import E2E_VLP, draw_mix
from .ragged import Problem

BATCHES = {"cpu": 5, "cuda": 100}
QUICK_BATCHES = 3
OPERATORS = ["attention", "attention_backward"]
PACKED = {"varlen_attn": ways.by_varlen, "FlexAttention": ways.by_flex}
Batch = tuple[Problem, list[Tensor], Tensor]
"""With q, k and v, and the gradient of the output."""


def varied_case(
    setting: Setting, name: str, batch: int, heads: tuple[int, int], dtype: torch.dtype
) -> Case:
    """Forward and backward; what a way knows of a batch is made before the clock starts."""
    number = QUICK_BATCHES if setting.is_quick else BATCHES[setting.device]
    mixes = [draw_mix(batch, E2E_VLP, setting.device, seed=seed) for seed in range(number)]
    problems = [mix.self_attention for mix in mixes]
    generator = setting.generator()
    batches = [(one, *ways.operands(one, heads, dtype, generator)) for one in problems]
    providers = ours(_each(ways.by_ours, batches), OPERATORS, setting.device)
    providers[PADDED] = _padded(batches)
    if setting.device == "cuda":
        for peer, way in PACKED.items():
            providers[peer] = Provider(run=_each(way, batches))
    return Case(
        operator="attention",
        name=name,
        dtype=str(dtype).removeprefix("torch."),
        direction="forward+backward",
        providers=providers,
        absent={} if setting.device == "cuda" else dict.fromkeys(PACKED, NEEDS_GPU),
        error=partial(_error, batches),
        tolerance=1e-3 if dtype == torch.float32 else 5e-2,
        calls=number,
        num_bytes=12 * sum(grad.nbytes for _, _, grad in batches) // number,
        flops=14 * heads[0] * heads[1] * sum(one.pairs for one in problems) // number,
    )


def _each(
    way: Callable[[Problem], Attend], batches: list[Batch]
) -> Callable[[], list[list[Tensor]]]:
    runs = [
        partial(ways.forward_backward, way(problem), qkv, grad) for problem, qkv, grad in batches
    ]
    return lambda: [run() for run in runs]


def _padded(batches: list[Batch]) -> Provider:
    each = [
        padded(ways.by_masked_sdpa(problem), problem, qkv, grad) for problem, qkv, grad in batches
    ]
    return Provider(
        run=lambda: [one.run() for one in each],
        read=lambda found: [one.read(x) for one, x in zip(each, found, strict=True)],
    )


def _error(batches: list[Batch], found: list[list[Tensor]]) -> float:
    """Of the batch that is furthest from float64."""
    return max(
        ways.largest_difference(x, ways.exactly(*batch))
        for batch, x in zip(batches, found, strict=True)
    )
