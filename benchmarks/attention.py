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

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import attention_ways as ways
from .attention_layers import block_case, encoder_case, full_encoder_case
from .attention_peers import NEEDS_GPU, peers
from .attention_varied import varied_case
from .case import Case, Cases, Provider, Setting, ours
from .coco_mix import E2E_VLP, SOHO, Mix, draw_mix
from .ragged import Problem, uniform

DENSE = ((32, 66, 4, 32), (8, 320, 12, 64), (8, 80, 12, 64), (8, 160, 12, 64))
"""Sequences, length, heads, width of a head."""
BATCHES: dict[str, dict[str, Sequence[int]]] = {
    "cpu": {"coco": (2, 4, 8), "soho": (2, 4, 8), "block": (2, 4, 8), "encoder6": (2, 4, 8)},
    "cuda": {"coco": (8, 32, 64), "soho": (64,), "block": (8, 32), "encoder6": (8,)},
}
"""Pictures of the cases with pictures."""
DECODED = {"cpu": 4, "cuda": 32}
"""Pictures of the decoder's cases."""
VARIED = {"cpu": 2, "cuda": 4}
"""Pictures of each of its batches."""
OBJECTS = 100
"""Queries of E2E-VLP's decoder."""

OPERATORS = ["attention", "attention_backward"]
EXACT, HALF = 1e-3, 5e-2
"""Largest difference allowed, relative to the largest value: float32 by units that round products
to TF32, and half precision."""
Heads = tuple[int, int]
"""How many, and their width."""
DETR, BERT = (8, 32), (12, 64)


def cases(setting: Setting) -> Cases:
    """The cases of attention by name, the most telling first."""
    batches = {
        kind: dict.fromkeys(map(setting.batch, sizes))
        for kind, sizes in BATCHES[setting.device].items()
    }
    found: dict[str, Callable[[], Case]] = {}
    for kind, augmentation, heads in (("coco", E2E_VLP, DETR), ("soho", SOHO, BERT)):
        for batch in batches[kind]:
            name = f"{kind}-B{batch}-{_named(heads)}"
            draw = partial(draw_mix, batch, augmentation, setting.device)
            found[name] = partial(_mixed, setting, name, draw, _within, heads)
    for batch in batches["block"]:
        found[f"block-B{batch}-{_named(DETR)}"] = partial(block_case, setting, batch)
    for batch in batches["encoder6"]:
        found[f"encoder6-B{batch}-{_named(DETR)}"] = partial(encoder_case, setting, batch)
    batch = setting.batch(DECODED[setting.device])
    if setting.device == "cuda":  # a CPU would take minutes
        name = f"encoder6-full-B{batch}-{_named(DETR)}"
        found[name] = partial(full_encoder_case, setting, batch)
    for kind, problem_of in (("objects", _objects), ("words", _words), ("writing", _writing)):
        name = f"{kind}-B{batch}-{_named(DETR)}"
        draw = partial(draw_mix, batch, E2E_VLP, setting.device)
        found[name] = partial(_mixed, setting, name, draw, problem_of, DETR)
    found |= _dense_cases(setting)
    few = setting.batch(VARIED[setting.device])
    name = f"varied-B{few}-{_named(DETR)}"
    found[name] = partial(varied_case, setting, name, few, DETR, half(setting))
    return found


def half(setting: Setting) -> torch.dtype:
    """On a GPU the half precision that each of them from Volta on multiplies; float32 on a CPU."""
    return torch.float16 if setting.device == "cuda" else torch.float32


def _named(heads: Heads) -> str:
    return "H{}-E{}".format(*heads)


def _within(mix: Mix) -> Problem:
    return mix.self_attention


def _objects(mix: Mix) -> Problem:
    queries = uniform(len(mix.rows.lengths), OBJECTS, mix.rows.device)
    return Problem(queries=queries, keys=mix.rows)


def _words(mix: Mix) -> Problem:
    return Problem(queries=mix.texts, keys=mix.rows)


def _writing(mix: Mix) -> Problem:
    return Problem(queries=mix.texts, keys=mix.rows, causal=True)


def _mixed(
    setting: Setting,
    name: str,
    draw: Callable[[], Mix],
    problem_of: Callable[[Mix], Problem],
    heads: Heads,
) -> Case:
    """Sequences of many lengths, forward and backward."""
    problem, dtype = problem_of(draw()), half(setting)
    qkv, grad = ways.operands(problem, heads, dtype, setting.generator())
    truth = ways.exactly(problem, qkv, grad)
    run = partial(ways.forward_backward, ways.by_ours(problem), qkv, grad)
    others = peers(setting, problem, qkv, grad)
    return Case(
        operator="attention",
        name=name,
        dtype=str(dtype).removeprefix("torch."),
        direction="forward+backward",
        providers={
            **ours(run, OPERATORS, setting.device),
            **{who: way for who, way in others.items() if isinstance(way, Provider)},
        },
        absent={who: why for who, why in others.items() if isinstance(why, str)},
        error=lambda found: ways.largest_difference(found, truth),
        tolerance=EXACT if dtype == torch.float32 else HALF,
        # Forward q, k, v and the output; backward these again and four gradients.
        num_bytes=6 * grad.nbytes + 6 * qkv[1].nbytes,
        flops=14 * heads[0] * heads[1] * problem.pairs,
    )


def _dense_cases(setting: Setting) -> dict[str, Callable[[], Case]]:
    found: dict[str, Callable[[], Case]] = {}
    for batch, length, *heads in DENSE:
        sequences = setting.batch(batch)
        name = f"dense-B{sequences}-L{length}-{_named((heads[0], heads[1]))}"
        shape = (sequences, length, heads[0], heads[1])
        found[name] = partial(_dense, setting, name, shape)
    return found


def _dense(setting: Setting, name: str, shape: Sequence[int]) -> Case:
    """All sequences are full, forward only."""
    sequences, length, heads, width = shape
    side, dtype = uniform(sequences, length, setting.device), half(setting)
    problem = Problem(queries=side, keys=side)
    qkv, grad = ways.operands(problem, (heads, width), dtype, setting.generator())
    heads_first = [x.unflatten(0, (sequences, length)).transpose(1, 2) for x in qkv]

    def by_torch() -> Tensor:
        out = functional.scaled_dot_product_attention(*heads_first)
        return out.transpose(1, 2).flatten(0, 1)

    def by_cudnn() -> Tensor:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return by_torch()

    truth = ways.exactly(problem, qkv, grad)[:1]
    on_gpu = setting.device == "cuda"
    return Case(
        operator="attention",
        name=name,
        dtype=str(dtype).removeprefix("torch."),
        providers={
            **ours(partial(ways.by_ours(problem), *qkv), ["attention"], setting.device),
            "PyTorch SDPA": Provider(run=by_torch),
            **({"PyTorch SDPA, cuDNN": Provider(run=by_cudnn)} if on_gpu else {}),
        },
        absent={} if on_gpu else {"PyTorch SDPA, cuDNN": NEEDS_GPU},
        error=lambda out: ways.largest_difference([out], truth),
        tolerance=EXACT if dtype == torch.float32 else HALF,
        num_bytes=4 * grad.nbytes,
        flops=4 * heads * width * problem.pairs,
    )
