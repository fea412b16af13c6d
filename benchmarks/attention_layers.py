"""Layers around attention, packed beside padded, forward and backward, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.transformer import Encoder, LayerConfig, make_encoder

from .attention_ways import largest_difference
from .case import Case, Provider, Setting, ours
from .coco_mix import E2E_VLP, Mix, draw_mix
from .encoders import encoder_layers, padded_attention, padded_encoder, padded_inputs, step

CONFIG = LayerConfig(width=256, num_heads=8, ffn_dim=2048, dropout=0.0)
LAYERS = 6
OPERATORS = ["linear_with_positions", "attention", "attention_backward"]
COMPILING = "left out of a quick run, because compiling takes long"
EXACT, HALF = 1e-3, 1e-1
"""Largest difference of the output and of the gradient of the input, relative to the largest."""


def block_case(setting: Setting, batch: int) -> Case:
    """Positions, projections, attention and output of one layer."""
    encoder = _encoder(setting, 1)
    (layer,) = encoder_layers(encoder)
    name = f"block-B{batch}-H8-E32"
    return _case(setting, name, batch, layer.attention, padded_attention(encoder))


def encoder_case(setting: Setting, batch: int) -> Case:
    """Six layers of E2E-VLP's encoder beside DETR's."""
    encoder = _encoder(setting, LAYERS)
    name = f"encoder{LAYERS}-B{batch}-H8-E32"
    return _case(setting, name, batch, encoder, padded_encoder(encoder))


def _encoder(setting: Setting, layers: int) -> Encoder:
    torch.manual_seed(0)
    return make_encoder(CONFIG, layers).to(setting.device)


def _case(setting: Setting, name: str, batch: int, packed: nn.Module, padded: nn.Module) -> Case:
    mix = draw_mix(batch, E2E_VLP, setting.device)
    sine = SinePosition(CONFIG.width).to(setting.device).on_rows(mix.grid, mix.packing)
    shape = (2, mix.packing.num_rows, CONFIG.width)
    x, grad = torch.randn(shape, generator=setting.generator(), device=setting.device)
    inputs = padded_inputs(mix, (x, sine.rows()))
    truth = _truth(padded, mix, inputs, grad)
    run = _autocast(setting, partial(step, packed, x, mix.packing, positions=sine, grad=grad))
    padded_run = partial(step, grad=mix.pad(grad))
    peers: dict[str, Callable[..., Tensor]] = {"DETR, padded": padded}
    if not setting.is_quick:
        peers["DETR, padded, compiled"] = torch.compile(padded, dynamic=True)
    return Case(
        operator="attention",
        name=name,
        dtype="bfloat16" if setting.device == "cuda" else "float32",
        direction="forward+backward",
        providers={
            **ours(run, OPERATORS, setting.device, read=lambda found: found[:2]),
            **{
                peer: Provider(
                    run=_autocast(setting, partial(padded_run, module, *inputs)),
                    read=lambda found: [mix.unpad(x) for x in found[:2]],
                )
                for peer, module in peers.items()
            },
        },
        absent={"DETR, padded, compiled": COMPILING} if setting.is_quick else {},
        error=lambda found: largest_difference(found, truth),
        tolerance=HALF if setting.device == "cuda" else EXACT,
    )


def _truth(padded: nn.Module, mix: Mix, inputs: tuple[Tensor, ...], grad: Tensor) -> list[Tensor]:
    """Output and gradient of the input by the padded layers in float64."""
    x, positions, is_padding = inputs
    exact = step(
        deepcopy(padded).double(),
        x.double(),
        positions.double(),
        is_padding,
        grad=mix.pad(grad).double(),
    )
    return [mix.unpad(found) for found in exact[:2]]


def _autocast(setting: Setting, run: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
    """On a GPU under autocast, as training runs."""

    def mixed() -> list[Tensor]:
        with torch.autocast(setting.device, torch.bfloat16, enabled=setting.device == "cuda"):
            return run()

    return mixed
