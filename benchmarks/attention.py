"""Attention over packed sequences beside what PyTorch offers, and layers around it beside DETR's.

Names of cases: `B` pictures or sequences, `L` rows each where they are alike, `H` heads of width
`E`. `dense` sequences are of one length, which spares PyTorch its mask; `coco` and `soho` are
pictures with captions as E2E-VLP and SOHO see them; `block` is positions, projections and attention
on the former, `encoder6` six encoder layers.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast import ops

from . import attention_ways as ways
from .attention_layers import block_case, encoder_case
from .attention_ways import Attend
from .case import Case, Cases, Provider, Setting, ours
from .coco_mix import E2E_VLP, SOHO, Augmentation, Mix, draw_mix

DENSE = ((32, 66, 4, 32), (8, 320, 12, 64), (8, 80, 12, 64), (8, 160, 12, 64))
"""Sequences, length, heads, width of a head."""
BATCHES = {"cpu": (2, 4, 8), "cuda": (8, 32, 64)}
"""Pictures of the cases with pictures."""

NEEDS_GPU = "left out on a CPU, where it does not run"
OPERATORS = ["attention", "attention_backward"]
EXACT, HALF = 1e-3, 5e-2
"""Largest difference allowed, relative to the largest value: float32 by units that round products
to TF32, and half precision."""


def cases(setting: Setting) -> Cases:
    """The cases of attention by name."""
    found = {}
    for batch, length, heads, width in DENSE:
        shape = (setting.batch(batch), length, heads, width)
        name = f"dense-B{shape[0]}-L{length}-H{heads}-E{width}"
        found[name] = partial(_dense, setting, name, shape)
    for batch in dict.fromkeys(map(setting.batch, BATCHES[setting.device])):
        for kind, augmentation, heads, width in (("coco", E2E_VLP, 8, 32), ("soho", SOHO, 12, 64)):
            name = f"{kind}-B{batch}-H{heads}-E{width}"
            found[name] = partial(_mixed, setting, name, batch, augmentation, (heads, width))
        found[f"block-B{batch}-H8-E32"] = partial(block_case, setting, batch)
        found[f"encoder6-B{batch}-H8-E32"] = partial(encoder_case, setting, batch)
    return found


def _dense(setting: Setting, name: str, shape: tuple[int, int, int, int]) -> Case:
    """All sequences are full, forward only."""
    sequences, length, heads, width = shape
    q, k, v = _qkv(setting, sequences * length, heads, width, torch.float32)
    bounds = torch.arange(
        0, sequences * length + 1, length, dtype=torch.int32, device=setting.device
    )

    def by_ours() -> Tensor:
        return ops.attention(q, k, v, bounds, bounds, max_seqlen_q=length, max_seqlen_k=length)

    def by_torch() -> Tensor:
        heads_first = [x.unflatten(0, (sequences, length)).transpose(1, 2) for x in (q, k, v)]
        out = functional.scaled_dot_product_attention(*heads_first)
        return out.transpose(1, 2).flatten(0, 1)

    truth = ways.exactly((q, k, v), q, [length] * sequences)[:1]
    return Case(
        operator="attention",
        name=name,
        providers={
            **ours(by_ours, ["attention"], setting.device),
            "PyTorch SDPA": Provider(run=by_torch),
        },
        error=lambda out: ways.largest_difference([out], truth),
        tolerance=EXACT,
        num_bytes=4 * q.nbytes,
        flops=4 * sequences * heads * length * length * width,
    )


def _mixed(
    setting: Setting,
    name: str,
    batch: int,
    augmentation: Augmentation,
    heads: tuple[int, int],
) -> Case:
    """Sequences of many lengths, forward and backward."""
    mix, dtype = draw_mix(batch, augmentation, setting.device), _dtype(setting)
    lengths = mix.packing.lengths
    *qkv, grad = _qkv(setting, mix.packing.num_rows, *heads, dtype, count=4)
    truth = ways.exactly(qkv, grad, lengths)
    run = partial(ways.forward_backward, ways.by_ours(mix), qkv, grad)
    peers, absent = _peers(setting, mix, qkv, grad)
    return Case(
        operator="attention",
        name=name,
        dtype=str(dtype).removeprefix("torch."),
        direction="forward+backward",
        providers={**ours(run, OPERATORS, setting.device), **peers},
        absent=absent,
        error=lambda found: ways.largest_difference(found, truth),
        tolerance=HALF if dtype == torch.bfloat16 else EXACT,
        num_bytes=12 * grad.nbytes,
        flops=14 * heads[0] * heads[1] * sum(length**2 for length in lengths),
    )


def _peers(
    setting: Setting, mix: Mix, qkv: list[Tensor], grad: Tensor
) -> tuple[dict[str, Provider], dict[str, str]]:
    padded = partial(
        ways.forward_backward, ways.by_masked_sdpa(mix), [mix.pad(x) for x in qkv], mix.pad(grad)
    )
    found = {
        "SDPA, padded and masked": Provider(
            run=padded, read=lambda solution: [mix.unpad(x) for x in solution]
        )
    }
    if setting.device != "cuda":
        return found, dict.fromkeys(("varlen_attn", "FlexAttention"), NEEDS_GPU)
    packed: dict[str, Attend] = {
        "varlen_attn": ways.by_varlen(mix),
        "FlexAttention": ways.by_flex(mix),
    }
    for name, attend in packed.items():
        found[name] = Provider(run=partial(ways.forward_backward, attend, qkv, grad))
    return found, {}


def _qkv(
    setting: Setting, rows: int, heads: int, width: int, dtype: torch.dtype, *, count: int = 3
) -> list[Tensor]:
    generator = setting.generator()
    shape = (count, rows, heads, width)
    drawn = torch.randn(shape, generator=generator, device=setting.device)
    return list(drawn.to(dtype).unbind())


def _dtype(setting: Setting) -> torch.dtype:
    return torch.bfloat16 if setting.device == "cuda" else torch.float32
