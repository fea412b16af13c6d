"""Attention over packed sequences beside PyTorch's scaled dot product attention.

Names of cases: `SxL` sequences of one length, `H` heads of width `E`: a step of the small recipes,
and the visual grid with text of the papers' 12 heads of width 64.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast import ops

from .case import Case, Cases, Provider, Setting, ours

SHAPES = ((32, 66, 4, 32), (8, 320, 12, 64))
"""Sequences, length, heads, width of a head."""

TOLERANCE = 1e-3
"""Absolute, of outputs below 1: room for matrix units that round products to TF32."""


def cases(setting: Setting) -> Cases:
    """The cases of attention by name."""
    found = {}
    for sequences, length, heads, width in SHAPES:
        batch = setting.batch(sequences)
        name = f"dense-{batch}x{length}-H{heads}-E{width}"
        found[name] = partial(_dense, setting, name, (batch, length, heads, width))
    return found


def _dense(setting: Setting, name: str, shape: tuple[int, int, int, int]) -> Case:
    """All sequences are full, which spares PyTorch its mask."""
    sequences, length, heads, width = shape
    q, k, v = torch.randn(
        3,
        sequences * length,
        heads,
        width,
        generator=setting.generator(),
        device=setting.device,
    ).unbind()
    bounds = torch.arange(
        0, sequences * length + 1, length, dtype=torch.int32, device=setting.device
    )

    def by_ours() -> Tensor:
        return ops.attention(q, k, v, bounds, bounds, max_seqlen_q=length, max_seqlen_k=length)

    def by_torch() -> Tensor:
        heads_first = [x.unflatten(0, (sequences, length)).transpose(1, 2) for x in (q, k, v)]
        out = functional.scaled_dot_product_attention(*heads_first)
        return out.transpose(1, 2).flatten(0, 1)

    truth = _exact(q, k, v, sequences)
    return Case(
        operator="attention",
        name=name,
        providers={
            **ours(by_ours, ["attention"], setting.device),
            "PyTorch SDPA": Provider(run=by_torch),
        },
        error=lambda out: float((out - truth).abs().max()),
        tolerance=TOLERANCE,
        num_bytes=4 * q.nbytes,
        flops=4 * sequences * heads * length * length * width,
    )


def _exact(q: Tensor, k: Tensor, v: Tensor, sequences: int) -> Tensor:
    """Softmax(q k^T) v in float64."""
    q, k, v = (x.double().unflatten(0, (sequences, -1)) for x in (q, k, v))
    weights = torch.einsum("slhe,smhe->shlm", q, k).mul(q.shape[-1] ** -0.5).softmax(-1)
    return torch.einsum("shlm,smhe->slhe", weights, v).flatten(0, 1)
