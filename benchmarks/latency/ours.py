"""Systems to measure: E2E-VLP and SOHO of this package by stages, and the baseline by its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.models.config import ModelConfig, model_config
from vlp_fast.models.model import Seen, VisionLanguageModel
from vlp_fast.models.soho import Soho
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing

from ..case import relative
from ..harness import DisagreementError
from .plan import WORDS, Plan
from .system import Agreement, Key, Stage, System

CLS = 101
"""Of BERT's vocabulary; any word would do."""
TOLERANCE = {"cpu": 1e-4, "cuda": 2e-2}
"""By the largest value; on a GPU convolutions are TF32's, and sum up otherwise."""
OPERATORS = ("attention", "nearest_code", "residual_norm")


def our_system(plan: Plan) -> System:
    """A model of this package, from bytes of a picture and ids of words to rows of the encoder."""
    model = _model(plan.system, plan.device, plan.is_quick)
    grid = make_grid(*model.grid_sizes([plan.size], plan.size))
    packing = make_packing([WORDS], [0], grid).to(plan.device)
    grid = grid.to(plan.device)
    text = draw_text(model.text_embeddings.word_embeddings.num_embeddings).to(plan.device)

    def read(seen: Seen) -> Tensor:
        return model.read(text, seen, grid, packing)

    stages: dict[str, Stage] = {"cnn": lambda pixels: model.features(pixels, grid, [plan.size])}
    if isinstance(model, Soho):
        stages["dictionary"] = lambda rows: model.dictionary(rows)[0]
    stages["transformer"] = lambda cells: read(Seen(cells=cells))
    pixels = partial(draw_picture, plan)
    return System(
        trunk=stages,
        draw=pixels,
        check=_equals(lambda: read(model.see(pixels(), grid, [plan.size])), plan.device),
        backend="+".join(
            dict.fromkeys(ops.backend_for(name, plan.device)[0] for name in OPERATORS)
        ),
    )


def draw_picture(plan: Plan) -> Tensor:
    """(1, 3, H, W) uint8 on the device, laid out as batches are."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, 3, *plan.size), generator=draw, dtype=torch.uint8)
    return pixels.to(plan.device, memory_format=torch.channels_last)


def draw_text(vocabulary: int) -> Tensor:
    """(WORDS,) int64."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(0, vocabulary, (WORDS,), generator=draw)
    ids[0] = min(CLS, vocabulary - 1)
    return ids


@cache
def _model(name: str, device: str, is_quick: bool) -> VisionLanguageModel:
    """The same for pictures of all sizes, laid out as `vlp_fast.load` lays it out."""
    torch.manual_seed(0)
    model = _config(name, is_quick).build()
    model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(device).eval().requires_grad_(False)


def _config(name: str, is_quick: bool) -> ModelConfig:
    """Of the name; if quick a layer of each kind."""
    config: Any = model_config(name)
    if not is_quick:
        return config  # type: ignore[no-any-return]
    small = {"encoder_layers": 1, "decoder_layers": 1, "layers": 1, "num_codes": 16}
    small |= {"vocab_size": 200, "width": 48, "ffn_dim": 64, "num_heads": 2, "head_dim": 24}
    backbone = replace(config.backbone, depth=18)
    here = {field: value for field, value in small.items() if hasattr(config, field)}
    return replace(config, backbone=backbone, **here)  # type: ignore[no-any-return]


def _equals(
    whole: Callable[[], Tensor], device: str
) -> Callable[[Mapping[Key, Any]], Mapping[Key, Agreement]]:
    """The last stage has what `see` and `read` give."""

    def check(made: Mapping[Key, Any]) -> Mapping[Key, Agreement]:
        last = Key("", "transformer")
        found, expected = made[last], whole()
        if found.shape != expected.shape or not found.isfinite().all():
            raise DisagreementError(f"latency: stages make {tuple(found.shape)}, or no numbers")
        error = relative(found, expected)
        if not error <= TOLERANCE[device]:  # NaN is no agreement
            raise DisagreementError(
                f"latency: the stages are {error:.3g} from see and read, allowed "
                f"{TOLERANCE[device]:.3g}"
            )
        return {last: Agreement(error)}

    return check
