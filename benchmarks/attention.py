"""Attention over packed sequences beside what others offer, and layers around it beside DETR's.

Names of cases: `B` pictures or sequences, `L` rows each where they are alike, `H` heads of width
`E`. `coco` and `soho` are pictures with captions as E2E-VLP and SOHO see them, and `varied` is a
run over many batches of the former, whose times are for one of them. Of its decoder, `objects` are
100 queries a picture to caption and picture, `words` those of the caption to the same, and
`writing` a caption behind its picture, each word to what is before it. `block` is positions,
projections and attention, `encoder6` six encoder layers, `encoder6-full` of pictures that all fill
the largest map. `dense` sequences are of one length, which spares PyTorch its mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import call
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import attention_ways as ways
from .attention_ways import Drawn
from .case import NEEDS_GPU, Case, Provider, Setting, ours
from .coco_mix import E2E_VLP, SOHO, Augmentation, Mix, Problem, draw_mix, uniform
from .encoders import block_case, encoder_case
from .peers import FLASH_ATTENTION

DENSE = ((32, 66, 4, 32), (8, 320, 12, 64), (8, 80, 12, 64), (8, 160, 12, 64))
"""Sequences, length, heads, width of a head."""
PICTURES: dict[str, dict[str, Sequence[int]]] = {
    "cpu": {"coco": (2, 4, 8), "soho": (2, 4, 8), "block": (2, 4, 8), "encoder6": (2, 4, 8)},
    "cuda": {"coco": (8, 32, 64), "soho": (64,), "block": (8, 32), "encoder6": (8,)},
}
"""Of the batches of the cases with pictures."""
DECODED, VARIED, VARIED_BATCHES = (
    {"cpu": 4, "cuda": 32},
    {"cpu": 2, "cuda": 4},
    {"cpu": 5, "cuda": 100},
)
"""Pictures of the decoder's cases, of each batch of `varied`, and how many of these there are."""
OBJECTS = 100
"""Queries of E2E-VLP's decoder."""
OPERATORS = ["attention", "attention_backward"]
EXACT, HALF = 1e-3, 5e-2
"""Largest difference allowed, relative to the largest value: float32 by units that round products
to TF32, and half precision."""
PADDED, CUDNN = "SDPA, padded and masked", "SDPA, padded and masked, cuDNN"
PACKED = {
    "varlen_attn": ways.by_varlen,
    "cuDNN, packed": ways.by_packed_cudnn,
    "FlexAttention": ways.by_flex,
}
"""PyTorch's, of packed rows; the second is not causal."""
NO_END = "left out: its causal mask begins with the first key instead of ending with the last"
FLASH = "FlashAttention-4"
Heads = tuple[int, int]
"""How many, and their width."""
DETR, BERT = (8, 32), (12, 64)


def cases(setting: Setting) -> list[Case]:
    """The cases of attention, the most telling first."""
    pictures = {
        kind: list(dict.fromkeys(map(setting.batch, sizes)))
        for kind, sizes in PICTURES[setting.device].items()
    }
    mixed = partial(_mixed, setting)
    found = [mixed("coco", batch, _within) for batch in pictures["coco"]]
    found += [mixed("soho", batch, _within, SOHO, BERT) for batch in pictures["soho"]]
    found += [block_case(setting, batch) for batch in pictures["block"]]
    found += [encoder_case(setting, batch) for batch in pictures["encoder6"]]
    decoded = setting.batch(DECODED[setting.device])
    if setting.device == "cuda":  # a CPU would take minutes
        found.append(encoder_case(setting, decoded, is_full=True))
    found += [mixed(kind, decoded, problem_of) for kind, problem_of in DECODER.items()]
    found += [_dense(setting, *shape) for shape in DENSE]
    number = 3 if setting.is_quick else VARIED_BATCHES[setting.device]
    found.append(mixed("varied", setting.batch(VARIED[setting.device]), _within, number=number))
    return found


def peers(setting: Setting, kind: str) -> dict[str, Provider]:
    """Who computes the output and the gradients of q, k and v of a kind of case."""
    found = {CUDNN: ways.padded(partial(ways.by_masked_sdpa, backend=SDPBackend.CUDNN_ATTENTION))}
    found |= {name: ways.packed(way) for name, way in PACKED.items()}
    if kind == "varied":
        found = {name: found[name] for name in ("varlen_attn", "FlexAttention")}
    if kind == "writing":
        found["cuDNN, packed"] = Provider(absence=NO_END)
    if setting.device != "cuda":
        found = dict.fromkeys(found, Provider(absence=NEEDS_GPU))
    elif kind != "varied":
        found[FLASH] = FLASH_ATTENTION.provide(lambda f: ways.packed(partial(ways.by_flash, f)))
    return {PADDED: ways.padded(ways.by_masked_sdpa), **found}


def _within(mix: Mix) -> Problem:
    return Problem(mix.rows, mix.rows)


DECODER: dict[str, Callable[[Mix], Problem]] = {
    "objects": lambda m: Problem(uniform(len(m.rows.lengths), OBJECTS, m.rows.device), m.rows),
    "words": lambda mix: Problem(mix.texts, mix.rows),
    "writing": lambda mix: Problem(mix.texts, mix.rows, causal=True),
}


def _mixed(
    setting: Setting,
    kind: str,
    batch: int,
    problem_of: Callable[[Mix], Problem],
    augmentation: Augmentation = E2E_VLP,
    heads: Heads = DETR,
    number: int = 1,
) -> Case:
    """Sequences of many lengths, forward and backward, of one batch or of several."""

    def draw(seed: int) -> Drawn:
        mix = draw_mix(batch, augmentation, setting.device, seed=seed)
        return _numbers(setting, problem_of(mix), heads, seed)

    prepare = ways.packed(ways.by_ours).prepare
    return Case(
        operator="attention",
        name=f"{kind}-B{batch}-{_named(heads)}",
        draws=[partial(draw, seed) for seed in range(number)],
        direction="forward+backward",
        providers=ours(call, OPERATORS, setting.device, prepare=prepare) | peers(setting, kind),
        error=Drawn.error,
        # Forward q, k, v and the output; backward these again and four gradients.
        num_bytes=lambda drawn: 6 * drawn.grad.nbytes + 6 * drawn.qkv[1].nbytes,
        flops=lambda drawn: 14 * heads[0] * heads[1] * drawn.problem.pairs,
        **_precision(setting),
    )


def _dense(setting: Setting, batch: int, length: int, *heads: int) -> Case:
    """All sequences are full, forward only."""
    sequences, on_gpu = setting.batch(batch), setting.device == "cuda"
    number, width = heads

    def draw() -> Drawn:
        side = uniform(sequences, length, setting.device)
        return _numbers(setting, Problem(side, side), (number, width))

    def heads_first(drawn: Drawn) -> list[Tensor]:
        return [x.unflatten(0, (sequences, length)).transpose(1, 2) for x in drawn.qkv]

    def by_torch(qkv: Sequence[Tensor]) -> Tensor:
        q, k, v = qkv
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)

    def by_cudnn(qkv: Sequence[Tensor]) -> Tensor:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return by_torch(qkv)

    by_ours = lambda drawn: partial(ways.by_ours(drawn.problem), *drawn.qkv)
    cudnn = Provider(by_cudnn, heads_first) if on_gpu else Provider(absence=NEEDS_GPU)
    return Case(
        operator="attention",
        name=f"dense-B{sequences}-L{length}-{_named((number, width))}",
        draws=[draw],
        providers={
            **ours(call, ["attention"], setting.device, prepare=by_ours),
            "PyTorch SDPA": Provider(by_torch, heads_first),
            "PyTorch SDPA, cuDNN": cudnn,
        },
        error=lambda drawn, out: drawn.error([out]),
        num_bytes=lambda drawn: 4 * drawn.grad.nbytes,
        flops=lambda drawn: 4 * number * width * drawn.problem.pairs,
        **_precision(setting),
    )


def _numbers(setting: Setting, problem: Problem, heads: Heads, seed: int = 0) -> Drawn:
    """On a GPU of the half precision that each from Volta on multiplies; float32 on a CPU."""
    dtype = torch.float16 if setting.device == "cuda" else torch.float32
    return ways.draw(problem, heads, dtype, setting.generator(seed))


def _precision(setting: Setting) -> dict[str, Any]:
    on_gpu = setting.device == "cuda"
    return {"dtype": "float16", "tolerance": HALF} if on_gpu else {"tolerance": EXACT}


def _named(heads: Heads) -> str:
    return "H{}-E{}".format(*heads)
