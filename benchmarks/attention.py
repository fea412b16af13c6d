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
from torch.nn.attention import SDPBackend

from . import attention_ways as ways
from .attention_ways import Drawn
from .case import Case, Provider, Setting, ours
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
DECODED, VARIED = {"cpu": 4, "cuda": 32}, {"cpu": (5, 2), "cuda": (100, 4)}
"""Pictures of the decoder's cases; batches of `varied`, and pictures of each."""
OBJECTS = 100
"""Queries of E2E-VLP's decoder."""
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
    batches = {
        kind: list(dict.fromkeys(map(setting.batch, sizes)))
        for kind, sizes in PICTURES[setting.device].items()
    }
    mixed = partial(_mixed, setting)
    found = [mixed("coco", batch, _within) for batch in batches["coco"]]
    found += [mixed("soho", batch, _within, SOHO, BERT) for batch in batches["soho"]]
    found += [block_case(setting, batch) for batch in batches["block"]]
    found += [encoder_case(setting, batch) for batch in batches["encoder6"]]
    decoded = setting.batch(DECODED[setting.device])
    if setting.device == "cuda":  # a CPU would take minutes
        found.append(encoder_case(setting, decoded, is_full=True))
    found += [mixed(kind, decoded, problem_of) for kind, problem_of in DECODER.items()]
    found += [_dense(setting, *shape) for shape in DENSE]
    number, batch = VARIED[setting.device]
    number = min(3, number) if setting.is_quick else number
    return [*found, mixed("varied", setting.batch(batch), _within, number=number)]


def peers(setting: Setting, kind: str) -> dict[str, Provider]:
    """Who computes the output and the gradients of q, k and v of a kind of case."""
    found = {CUDNN: ways.padded(partial(ways.by_sdpa, backend=SDPBackend.CUDNN_ATTENTION))}
    found |= {name: ways.packed(way) for name, way in PACKED.items()}
    if kind == "varied":
        found = {name: found[name] for name in ("varlen_attn", "FlexAttention")}
    if kind == "writing":
        found["cuDNN, packed"] = Provider(absence=NO_END)
    if kind != "varied" and setting.device == "cuda":
        found[FLASH] = FLASH_ATTENTION.provide(lambda f: ways.packed(partial(ways.by_flash, f)))
    found = {name: way.unless(setting.needs_gpu) for name, way in found.items()}
    return {PADDED: ways.padded(ways.by_sdpa), **found}


def _within(mix: Mix) -> Problem:
    return Problem(mix.rows, mix.rows)


DECODER: dict[str, Callable[[Mix], Problem]] = {
    "objects": lambda mix: Problem(
        uniform(mix.packing.num_sequences, OBJECTS, mix.device), mix.rows
    ),
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
    drawn_as = augmentation.coarse() if setting.is_quick else augmentation

    def draw(seed: int) -> Problem:
        return problem_of(draw_mix(batch, drawn_as, setting.device, seed=seed))

    used = ["attention", "attention_backward"]
    prepare = ways.packed(ways.by_ours).prepare
    return _case(
        setting,
        f"{kind}-B{batch}",
        [partial(draw, seed) for seed in range(number)],
        heads,
        ours(call, used, setting.device, prepare=prepare) | peers(setting, kind),
        direction="forward+backward",
        # Forward q, k, v and the output; backward these again and four gradients.
        num_bytes=lambda drawn: 6 * drawn.grad.nbytes + 6 * drawn.qkv[1].nbytes,
        flops=lambda drawn: 14 * heads[0] * heads[1] * drawn.problem.pairs,
    )


def _dense(setting: Setting, batch: int, length: int, *heads: int) -> Case:
    """All sequences are full, forward only."""
    sequences, (number, width) = setting.batch(batch), heads
    prepare = ways.packed(ways.by_ours, ways.forward).prepare
    cudnn = ways.padded(partial(ways.by_sdpa, backend=SDPBackend.CUDNN_ATTENTION), ways.forward)

    def draw() -> Problem:
        side = uniform(sequences, length, setting.device)
        return Problem(side, side)

    return _case(
        setting,
        f"dense-B{sequences}-L{length}",
        [draw],
        (number, width),
        {
            **ours(call, ["attention"], setting.device, prepare=prepare),
            "PyTorch SDPA": ways.padded(ways.by_sdpa, ways.forward),
            "PyTorch SDPA, cuDNN": cudnn.unless(setting.needs_gpu),
        },
        num_bytes=lambda drawn: 4 * drawn.grad.nbytes,
        flops=lambda drawn: 4 * number * width * drawn.problem.pairs,
    )


def _case(
    setting: Setting,
    name: str,
    problems: Sequence[Callable[[], Problem]],
    heads: Heads,
    providers: dict[str, Provider],
    **counted: Any,
) -> Case:
    """On a GPU of the half precision that each from Volta on multiplies; float32 on a CPU."""
    on_gpu = setting.device == "cuda"
    dtype = torch.float16 if on_gpu else torch.float32

    def draw(seed: int) -> Drawn:
        return ways.draw(problems[seed](), heads, dtype, setting.generator(seed))

    return Case(
        operator="attention",
        name="{}-H{}-E{}".format(name, *heads),
        draws=[partial(draw, seed) for seed in range(len(problems))],
        providers=providers,
        error=Drawn.error,
        dtype=dtype,
        tolerance=HALF if on_gpu else EXACT,
        **counted,
    )
