"""DETR's CNN, positions and Transformer, padded, as its users have them.

Carion et al. (ECCV 2020), section 3.2 and appendix A.4; torchvision's ResNet with its frozen norms,
stem and first stage still; `nn.MultiheadAttention` with masks of padded keys, asked for no weights,
so that PyTorch may choose its fused kernel. B pictures, L rows, D width, A decoder layers.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops.misc import FrozenBatchNorm2d

TRAINED = ("layer2", "layer3", "layer4")
EPSILON, TEMPERATURE = 1e-6, 10000.0


def resnet(depth: int) -> nn.Module:
    """torchvision's, up to the last map, under the name "0"; random, without its classifier."""
    make = getattr(torchvision.models, f"resnet{depth}")
    body = make(weights=None, norm_layer=FrozenBatchNorm2d)
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED))
    return cast(nn.Module, IntermediateLayerGetter(body, {"layer4": "0"}))


def on_map(is_padding: Tensor, features: Tensor) -> Tensor:
    """(B, H, W) bool of pixels, sampled for the cells of a map (B, C, h, w): (B, h, w) bool."""
    sampled = functional.interpolate(is_padding[None].float(), size=features.shape[-2:])
    return sampled[0].to(torch.bool)


def sine_positions(is_padding: Tensor, width: int) -> Tensor:
    """(B, h * w, D): rows in the first half of the features, columns in the second."""
    valid = ~is_padding
    frequencies = torch.arange(width // 2, dtype=torch.float32, device=valid.device)
    waves = TEMPERATURE ** (2 * (frequencies // 2) / (width // 2))
    halves = []
    for axis in (1, 2):
        place = valid.cumsum(axis, dtype=torch.float32)
        last = place.select(axis, -1).unsqueeze(axis)
        angle = (place / (last + EPSILON) * 2 * math.pi)[..., None] / waves
        pairs = torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=4)
        halves.append(pairs.flatten(3))
    return torch.cat(halves, dim=3).flatten(1, 2)


class FeedForward(nn.Module):
    """linear2(dropout(relu(linear1(x))))."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., D) to (..., D)."""
        out: Tensor = self.linear2(self.dropout(functional.relu(self.linear1(x))))
        return out


class EncoderLayer(nn.Module):
    """Positions are added to queries and keys; normalised behind each block."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.ffn = FeedForward(width, inner, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout1, self.dropout2 = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Tensor, is_padding: Tensor) -> Tensor:
        """Maps (B, L, D) to (B, L, D)."""
        placed = x + positions
        x = self.norm1(x + self.dropout1(_attend(self.attention, placed, placed, x, is_padding)))
        out: Tensor = self.norm2(x + self.dropout2(self.ffn(x)))
        return out


class Encoder(nn.Module):
    """Layers one behind the other."""

    def __init__(self, layers: int, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        made = (EncoderLayer(width, heads, inner, dropout) for _ in range(layers))
        self.layers = nn.ModuleList(made)

    def forward(self, x: Tensor, positions: Tensor, is_padding: Tensor) -> Tensor:
        """Maps (B, L, D) to (B, L, D)."""
        for layer in self.layers:
            x = layer(x, positions, is_padding)
        return x


class DecoderLayer(nn.Module):
    """Self-attention, attention to a memory, and a feed-forward network."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.ffn = FeedForward(width, inner, dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout1, self.dropout2, self.dropout3 = (nn.Dropout(dropout) for _ in range(3))

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        placed_memory: Tensor,
        memory_padding: Tensor,
        query_positions: Tensor | None,
        is_padding: Tensor | None,
        hidden: Tensor | None,
    ) -> Tensor:
        """Maps (B, L, D) to (B, L, D); `hidden` (L, L) bool is True where a row may not look."""
        placed = x if query_positions is None else x + query_positions
        seen = _attend(self.self_attention, placed, placed, x, is_padding, hidden)
        x = self.norm1(x + self.dropout1(seen))
        placed = x if query_positions is None else x + query_positions
        seen = _attend(self.cross_attention, placed, placed_memory, memory, memory_padding)
        x = self.norm2(x + self.dropout2(seen))
        out: Tensor = self.norm3(x + self.dropout3(self.ffn(x)))
        return out


class Decoder(nn.Module):
    """Layers whose outputs are all normed and returned: (A, B, L, D)."""

    def __init__(self, layers: int, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        made = (DecoderLayer(width, heads, inner, dropout) for _ in range(layers))
        self.layers, self.norm = nn.ModuleList(made), nn.LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        memory_positions: Tensor,
        memory_padding: Tensor,
        *,
        query_positions: Tensor | None = None,
        is_padding: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Arguments as in `DecoderLayer`; positions of the memory enter its keys."""
        outputs, placed = [], memory + memory_positions
        for layer in self.layers:
            x = layer(x, memory, placed, memory_padding, query_positions, is_padding, hidden)
            outputs.append(self.norm(x))
        return torch.stack(outputs)


class BoxHead(nn.Module):
    """Three layers and a sigmoid: (..., D) to (..., 4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, out) for out in (width, width, 4)])

    def forward(self, x: Tensor) -> Tensor:
        """Boxes `(cx, cy, w, h)` in [0, 1]."""
        first, second, last = self.layers
        boxes: Tensor = last(functional.relu(second(functional.relu(first(x))))).sigmoid()
        return boxes


def _attend(
    block: nn.MultiheadAttention,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    is_padding: Tensor | None,
    hidden: Tensor | None = None,
) -> Tensor:
    out: Tensor = block(
        queries, keys, values, key_padding_mask=is_padding, attn_mask=hidden, need_weights=False
    )[0]
    return out
