"""Layers around attention, packed beside padded, forward and backward, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.transformer import Encoder, LayerConfig, make_encoder

from .attention_peers import NEEDS_GPU
from .attention_ways import by_varlen, mean_difference
from .case import Case, Provider, Setting, ours
from .coco_mix import E2E_VLP, Mix, draw_mix, full_mix
from .encoders import (
    PackedAttention,
    encoder_layers,
    padded_attention,
    padded_encoder,
    padded_inputs,
    step,
)

CONFIG = LayerConfig(width=256, num_heads=8, ffn_dim=2048, dropout=0.0)
LAYERS = 6
LARGEST = (25, 42)
"""Cells of a picture of 800 x 1333 pixels."""
OPERATORS = [
    "linear_with_positions",
    "sum_by_index",
    "attention",
    "attention_backward",
    "residual_norm",
    "residual_norm_backward",
]
PADDED, COMPOSED = "DETR, padded", "x + p, linear, varlen_attn"
COMPILED = ", compiled"
COMPILING = "left out of a quick run, because compiling takes long"
EXACT, HALF = 3e-3, 1e-1
"""Difference of the output and of the gradient of the input, in the mean over all numbers: where a
rectifier's input rounds to the other side of zero, the gradient of one row is another one."""


def block_case(setting: Setting, batch: int) -> Case:
    """Positions, projections, attention and output of one layer."""
    mix, encoder = draw_mix(batch, E2E_VLP, setting.device), _encoder(setting, 1)
    (layer,) = encoder_layers(encoder)
    case = _Layers(setting, mix, layer.attention, padded_attention(encoder))
    name = f"block-B{batch}-H8-E32"
    if setting.device != "cuda":
        return case.made(name, OPERATORS[:4], absent={COMPOSED + COMPILED: NEEDS_GPU})
    composed = PackedAttention(layer, by_varlen(mix.self_attention))
    return case.made(name, OPERATORS[:4], packed={COMPOSED: composed})


def encoder_case(setting: Setting, batch: int) -> Case:
    """Six layers of E2E-VLP's encoder beside DETR's."""
    return _encoder_case(setting, f"encoder{LAYERS}", draw_mix(batch, E2E_VLP, setting.device))


def full_encoder_case(setting: Setting, batch: int) -> Case:
    """The same of pictures that fill the largest map, where nothing is saved by not padding."""
    return _encoder_case(setting, f"encoder{LAYERS}-full", full_mix(batch, LARGEST, setting.device))


def _encoder_case(setting: Setting, kind: str, mix: Mix) -> Case:
    encoder = _encoder(setting, LAYERS)
    case = _Layers(setting, mix, encoder, padded_encoder(encoder))
    return case.made(f"{kind}-B{mix.packing.num_sequences}-H8-E32", OPERATORS)


def _encoder(setting: Setting, layers: int) -> Encoder:
    torch.manual_seed(0)
    return make_encoder(CONFIG, layers).to(setting.device)


class _Layers:
    """Ours on packed rows, and DETR's on padded ones."""

    def __init__(self, setting: Setting, mix: Mix, ours: nn.Module, padded: nn.Module) -> None:
        self.setting, self.mix, self.ours, self.padded = setting, mix, ours, padded
        self.sine = SinePosition(CONFIG.width).to(setting.device).on_rows(mix.grid, mix.packing)
        shape = (2, mix.packing.num_rows, CONFIG.width)
        generator = setting.generator()
        self.x, self.grad = torch.randn(shape, generator=generator, device=setting.device)

    def made(
        self,
        name: str,
        operators: Sequence[str],
        packed: Mapping[str, nn.Module] | None = None,
        absent: Mapping[str, str] | None = None,
    ) -> Case:
        """The case; `packed` are modules of others that map packed rows and positions."""
        setting, mix = self.setting, self.mix
        run = partial(step, self.ours, self.x, mix.packing, positions=self.sine, grad=self.grad)
        modules = {PADDED: self.padded, **(packed or {})}
        compiled, uncompiled = self._compiled(modules)
        truth = _truth(self.padded, mix, padded_inputs(mix, (self.x, self.sine.rows())), self.grad)
        return Case(
            operator="attention",
            name=name,
            dtype=str(_half()).removeprefix("torch.") if setting.device == "cuda" else "float32",
            direction="forward+backward",
            providers={
                **ours(
                    _autocast(setting, run), operators, setting.device, read=lambda both: both[:2]
                ),
                **{peer: self._peer(peer, one) for peer, one in {**modules, **compiled}.items()},
            },
            absent={**(absent or {}), **uncompiled},
            error=lambda found: mean_difference(found, truth),
            tolerance=HALF if setting.device == "cuda" else EXACT,
        )

    def _compiled(
        self, modules: Mapping[str, nn.Module]
    ) -> tuple[dict[str, nn.Module], dict[str, str]]:
        """Modules for sequences of any length, or why there are none."""
        compiled: dict[str, nn.Module] = {}
        if self.setting.is_quick:
            return compiled, {name + COMPILED: COMPILING for name in modules}
        for name, module in modules.items():
            compiled[name + COMPILED] = cast("nn.Module", torch.compile(module, dynamic=True))
        return compiled, {}

    def _peer(self, name: str, module: nn.Module) -> Provider:
        rows, positions = self.mix.rows, self.sine.rows()
        if not name.startswith(PADDED):
            run = partial(step, module, self.x, positions, grad=self.grad)
            return Provider(run=_autocast(self.setting, run), read=lambda found: found[:2])
        inputs = padded_inputs(self.mix, (self.x, positions))
        run = partial(step, module, *inputs, grad=rows.pad(self.grad))
        return Provider(
            run=_autocast(self.setting, run),
            read=lambda found: [rows.unpad(x) for x in found[:2]],
        )


def _truth(padded: nn.Module, mix: Mix, inputs: tuple[Tensor, ...], grad: Tensor) -> list[Tensor]:
    """Output and gradient of the input by the padded layers in float64."""
    x, positions, is_padding = inputs
    exact = step(
        deepcopy(padded).double(),
        x.double(),
        positions.double(),
        is_padding,
        grad=mix.rows.pad(grad).double(),
    )
    return [mix.rows.unpad(found) for found in exact[:2]]


def _half() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16


def _autocast(setting: Setting, run: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
    """On a GPU under autocast, as training runs."""
    if setting.device != "cuda":
        return run

    def mixed() -> list[Tensor]:
        with torch.autocast("cuda", _half()):
            return run()

    return mixed
