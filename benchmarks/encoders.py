"""Layers around attention, packed beside padded, forward and backward, with the same weights.

DETR pads its pictures, adds positions to x in each layer and masks keys. A block without padding is
also composed of the parts that there are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from operator import call
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.transformer import Encoder, EncoderLayer, LayerConfig, make_encoder

from .attention_ways import Attend, by_varlen
from .case import Case, Provider, Setting, ours
from .coco_mix import E2E_VLP, Mix, Problem, draw_mix, full_mix

CONFIG = LayerConfig(width=256, num_heads=8, ffn_dim=2048, dropout=0.0)
LAYERS = 6
LARGEST = (25, 42)
"""Cells of a picture of 800 x 1333 pixels."""
OPERATORS = (
    *("linear_with_positions", "sum_by_index", "attention", "attention_backward"),
    *("residual_norm", "residual_norm_backward"),
)
PADDED, COMPOSED = "DETR, padded", "x + p, linear, varlen_attn"
EXACT, HALF = 3e-3, 1e-1
"""Difference of the output and of the gradient of the input, in the mean over all numbers: where a
rectifier's input rounds to the other side of zero, the gradient of one row is another one."""


Run = Callable[[], list[Tensor]]
Make = Callable[[nn.Module], Any]
"""What compiles a module, or leaves it as it is."""


class Padded(nn.Module):
    """DETR's encoder, normalised behind each block, with the weights of ours.

    Its blocks are `nn.MultiheadAttention(x + p, x + p, x, key_padding_mask)`; of one layer the
    block alone.
    """

    def __init__(self, layers: Sequence[EncoderLayer]) -> None:
        super().__init__()
        new = partial(nn.MultiheadAttention, CONFIG.width, CONFIG.num_heads, batch_first=True)
        self.blocks = nn.ModuleList(new() for _ in layers)
        for block, layer in zip(self.blocks, layers, strict=True):
            block.load_state_dict(layer.attention.state_dict())
        parts = ([x.norm1, x.norm2, x.ffn.linear1, x.ffn.linear2] for x in layers)
        self.others = nn.ModuleList(map(nn.ModuleList, parts if len(layers) > 1 else ()))

    def forward(self, x: Tensor, positions: Tensor, is_padding: Tensor) -> Tensor:
        """Maps (S, L, D) to (S, L, D)."""
        others: Any = self.others
        if not others:
            return _attend(self.blocks[0], x, positions, is_padding)
        for block, (norm1, norm2, linear1, linear2) in zip(self.blocks, others, strict=True):
            x = norm1(x + _attend(block, x, positions, is_padding))
            x = norm2(x + linear2(functional.relu(linear1(x))))
        return x


class PackedAttention(nn.Module):
    """The block of packed rows, composed of others' parts: x + p is written out.

    Args:
        layer: whose weights are taken.
        attend: maps q, k and v, (T, N, E), to (T, N, E).
    """

    def __init__(self, layer: EncoderLayer, attend: Attend) -> None:
        super().__init__()
        self.projections, self.attend = layer.attention, attend

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Maps (T, D) to (T, D)."""
        theirs = self.projections
        inner = 2 * theirs.num_heads * theirs.head_dim
        (weight, value_weight), (bias, value_bias) = (
            (both[:inner], both[inner:]) for both in (theirs.in_proj_weight, theirs.in_proj_bias)
        )
        q, k = functional.linear(x + positions, weight, bias).chunk(2, 1)
        v = functional.linear(x, value_weight, value_bias)
        q, k, v = (part.unflatten(1, (theirs.num_heads, -1)) for part in (q, k, v))
        out: Tensor = theirs.out_proj(self.attend(q, k, v).flatten(1))
        return out


@dataclass(frozen=True, eq=False)
class Layers:
    """Rows of a batch, and the layers that map them; of one layer the attention alone."""

    setting: Setting
    mix: Mix
    encoder: Encoder

    @property
    def layers(self) -> list[EncoderLayer]:
        """Of the encoder."""
        return [layer for layer in self.encoder.layers if isinstance(layer, EncoderLayer)]

    @cached_property
    def positions(self) -> Any:
        """Sine positions of the rows."""
        sine = SinePosition(CONFIG.width).to(self.setting.device)
        return sine.on_rows(self.mix.grid, self.mix.packing)

    @cached_property
    def x_and_grad(self) -> Tensor:
        """The input and the gradient of the output: (2, T, D)."""
        shape = (2, self.mix.packing.num_rows, CONFIG.width)
        return torch.randn(shape, generator=self.setting.generator(), device=self.setting.device)

    @property
    def padded(self) -> nn.Module:
        """DETR's layers with the weights of ours."""
        return Padded(self.layers).to(self.setting.device)

    @property
    def padded_inputs(self) -> tuple[Tensor, ...]:
        """x, the gradient and positions, padded, and the mask."""
        rows = self.mix.rows
        return (*map(rows.pad, (*self.x_and_grad, self.positions.rows())), rows.is_padding)

    def by_ours(self) -> Run:
        """Packed rows through our layers."""
        module = self.layers[0].attention if len(self.layers) == 1 else self.encoder
        options = {"packing": self.mix.packing, "positions": self.positions}
        return self._mixed(partial(step, module, *self.x_and_grad, **options))

    def by_padded(self, make: Make = lambda module: module) -> Run:
        """Padded rows through DETR's."""
        return self._mixed(partial(step, make(self.padded), *self.padded_inputs))

    def by_parts(self, make: Make = lambda module: module) -> Run:
        """Packed rows through the parts of others."""
        rows = self.mix.rows
        module = PackedAttention(self.layers[0], by_varlen(Problem(rows, rows)))
        inputs = (*self.x_and_grad, self.positions.rows())
        return self._mixed(partial(step, make(module), *inputs))

    def unpad(self, found: Sequence[Tensor]) -> list[Tensor]:
        """Output and gradient of the input of padded rows, packed."""
        return [self.mix.rows.unpad(x) for x in found[:2]]

    @cached_property
    def truth(self) -> list[Tensor]:
        """Output and gradient of the input by the padded layers in float64."""
        x, grad, positions, is_padding = self.padded_inputs
        module = deepcopy(self.padded).double()
        return self.unpad(step(module, x.double(), grad.double(), positions.double(), is_padding))

    def error(self, found: Sequence[Tensor]) -> float:
        """How far both are, as root of the mean square, relative to that of their values."""
        return max(
            float((x - y).double().norm() / y.norm().clamp(min=1e-12))
            for x, y in zip(found[:2], self.truth, strict=True)
        )

    def _mixed(self, run: Run) -> Run:
        """On a GPU under autocast, as training runs."""
        on_gpu = self.setting.device == "cuda"
        return torch.autocast("cuda", _half())(run) if on_gpu else run


def step(
    module: nn.Module, x: Tensor, grad: Tensor, *inputs: Tensor, **options: object
) -> list[Tensor]:
    """Output of a module, and the gradients of its input and its parameters."""
    x = x.detach().requires_grad_()
    out = module(x, *inputs, **options)
    leaves = [x, *module.parameters()]
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.to(out.dtype))]


def draw(setting: Setting, mix: Callable[[str], Mix], layers: int) -> Layers:
    """So many layers on a batch."""
    torch.manual_seed(0)
    encoder = make_encoder(CONFIG, layers).to(setting.device)
    return Layers(setting, mix(setting.device), encoder)


def block_case(setting: Setting, batch: int) -> Case:
    """Positions, projections, attention and output of one layer."""
    parts = _eager_and_compiled(setting, COMPOSED, Layers.by_parts)
    parts = {name: provider.unless(setting.needs_gpu) for name, provider in parts.items()}
    return _case(setting, f"block-B{batch}", 1, _pictures(setting, batch), parts)


def encoder_case(setting: Setting, batch: int, *, is_full: bool = False) -> Case:
    """Six layers beside DETR's, of pictures that all fill the largest map if that is asked for."""
    mix = partial(full_mix, batch, LARGEST) if is_full else _pictures(setting, batch)
    return _case(setting, f"encoder{LAYERS}{'-full' * is_full}-B{batch}", LAYERS, mix, {})


def _pictures(setting: Setting, batch: int) -> Callable[[str], Mix]:
    """As DETR augments; of a quick run in larger cells."""
    return partial(draw_mix, batch, E2E_VLP.coarse() if setting.is_quick else E2E_VLP)


def _case(
    setting: Setting,
    name: str,
    layers: int,
    mix: Callable[[str], Mix],
    others: dict[str, Provider],
) -> Case:
    on_gpu, used = setting.device == "cuda", OPERATORS[: 4 if layers == 1 else 6]
    providers = ours(call, used, setting.device, prepare=Layers.by_ours)
    providers |= _eager_and_compiled(setting, PADDED, Layers.by_padded, read=Layers.unpad)
    return Case(
        operator="attention",
        name=f"{name}-H8-E32",
        draws=[partial(draw, setting, mix, layers)],
        dtype=_half() if on_gpu else torch.float32,
        direction="forward+backward",
        providers=providers | others,
        error=Layers.error,
        tolerance=HALF if on_gpu else EXACT,
    )


def _eager_and_compiled(
    setting: Setting, name: str, prepare: Callable[..., Run], **parts: Any
) -> dict[str, Provider]:
    """A peer as it is, and by torch.compile for batches of any size."""
    made_of = lambda layers: prepare(layers, partial(torch.compile, dynamic=True))
    compiled = Provider(call, made_of, **parts).unless(setting.needs_time)
    return {name: Provider(call, prepare, **parts), f"{name}, compiled": compiled}


def _attend(block: nn.Module, x: Tensor, positions: Tensor, is_padding: Tensor) -> Tensor:
    placed = x + positions
    out: Tensor = block(placed, placed, x, key_padding_mask=is_padding, need_weights=False)[0]
    return out


def _half() -> torch.dtype:
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
