"""Encoder layers as DETR computes them: padded pictures, x + positions in each, a mask of keys.

And attention without padding, of the parts that there are elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_fast.layers.transformer import Encoder, EncoderLayer

from .attention_ways import Attend
from .coco_mix import Mix


class PaddedAttention(nn.Module):
    """DETR's block: `nn.MultiheadAttention(x + p, x + p, x, key_padding_mask)`."""

    def __init__(self, layer: EncoderLayer) -> None:
        super().__init__()
        ours = layer.attention
        width = ours.out_proj.out_features
        self.attention = nn.MultiheadAttention(width, ours.num_heads, batch_first=True)
        self.attention.load_state_dict(ours.state_dict())

    def forward(self, x: Tensor, positions: Tensor, is_padding: Tensor) -> Tensor:
        """Maps (S, L, D) to (S, L, D)."""
        placed = x + positions
        out: Tensor = self.attention(
            placed, placed, x, key_padding_mask=is_padding, need_weights=False
        )[0]
        return out


class PackedAttention(nn.Module):
    """The same block of packed rows, composed of others' parts: x + p is written out.

    Args:
        layer: whose weights are taken.
        attend: maps q, k and v, (T, N, E), to (T, N, E).
    """

    def __init__(self, layer: EncoderLayer, attend: Attend) -> None:
        super().__init__()
        self.projections, self.attend = layer.attention, attend

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Maps (T, D) to (T, D)."""
        ours = self.projections
        weight, bias = ours.in_proj_weight, ours.in_proj_bias
        inner = ours.num_heads * ours.head_dim
        placed = functional.linear(x + positions, weight[: 2 * inner], bias[: 2 * inner])
        v = functional.linear(x, weight[2 * inner :], bias[2 * inner :])
        q, k, v = (part.unflatten(1, (ours.num_heads, -1)) for part in (*placed.chunk(2, 1), v))
        out: Tensor = ours.out_proj(self.attend(q, k, v).flatten(1))
        return out


class PaddedLayer(nn.Module):
    """DETR's encoder layer, normalised behind each block, with the weights of one of ours."""

    def __init__(self, layer: EncoderLayer) -> None:
        super().__init__()
        self.attention = PaddedAttention(layer)
        self.linear1, self.linear2 = layer.ffn.linear1, layer.ffn.linear2
        self.norm1, self.norm2 = layer.norm1, layer.norm2

    def forward(self, x: Tensor, positions: Tensor, is_padding: Tensor) -> Tensor:
        """Maps (S, L, D) to (S, L, D)."""
        x = self.norm1(x + self.attention(x, positions, is_padding))
        out: Tensor = self.norm2(x + self.linear2(functional.relu(self.linear1(x))))
        return out


class PaddedEncoder(nn.Module):
    """Layers one behind the other."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, positions: Tensor, is_padding: Tensor) -> Tensor:
        """Maps (S, L, D) to (S, L, D)."""
        for layer in self.layers:
            x = layer(x, positions, is_padding)
        return x


def padded_encoder(encoder: Encoder) -> PaddedEncoder:
    """DETR's encoder with the weights of ours."""
    return PaddedEncoder(PaddedLayer(layer) for layer in encoder_layers(encoder))


def padded_attention(encoder: Encoder) -> PaddedEncoder:
    """The attention of DETR's layers alone."""
    return PaddedEncoder(PaddedAttention(layer) for layer in encoder_layers(encoder))


def padded_inputs(mix: Mix, rows: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Pad rows, and add the mask."""
    return (*(mix.rows.pad(x) for x in rows), mix.rows.is_padding)


def step(
    module: nn.Module, x: Tensor, *inputs: object, grad: Tensor, **options: object
) -> list[Tensor]:
    """Output of a module, and the gradients of its input and its parameters."""
    x = x.detach().requires_grad_()
    leaves = [x, *module.parameters()]
    out = module(x, *inputs, **options)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.to(out.dtype))]


def encoder_layers(encoder: Encoder) -> list[EncoderLayer]:
    """The layers of an encoder."""
    return [layer for layer in encoder.layers if isinstance(layer, EncoderLayer)]
