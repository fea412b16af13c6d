"""The Transformer over words and boxes, as UNITER's and the one that SOHO's paper compares with.

Its layers are this package's own, the same that SOHO is measured with: what differs is the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vlp_fast.layers.embeddings import TextEmbeddings
from vlp_fast.layers.transformer import LayerConfig, make_encoder
from vlp_fast.ops.packing import Packing, make_packing, uniform_packing

from .two_stage import Regions

PLACE = 7
"""Of a box: its corners, sides and area, by those of the picture."""


class Kept(NamedTuple):
    """Regions, and which of them are read."""

    regions: Regions
    chosen: Tensor
    """(N,) int64."""


@dataclass(frozen=True, kw_only=True)
class ReaderSizes:
    """BERT-base's, SOHO's and UNITER's; `QUICK` is one of the same parts."""

    boxes: int = 100
    layers: int = 12
    width: int = 768
    heads: int = 12
    ffn: int = 3072
    vocabulary: int = 30522


QUICK = ReaderSizes(boxes=8, layers=1, width=32, heads=2, ffn=64, vocabulary=200)


class RegionReader(nn.Module):
    """Reads a text beside boxes.

    Args:
        sizes: of the Transformer.
        words: of every text.
        size: (height, width) of the pictures.
    """

    def __init__(self, sizes: ReaderSizes, *, words: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.text_embeddings = TextEmbeddings(sizes.vocabulary, sizes.width, 512)
        self.look, self.look_norm = nn.Linear(2048, sizes.width), nn.LayerNorm(sizes.width)
        self.place, self.place_norm = nn.Linear(PLACE, sizes.width), nn.LayerNorm(sizes.width)
        self.norm = nn.LayerNorm(sizes.width)
        layer = LayerConfig(
            width=sizes.width,
            num_heads=sizes.heads,
            ffn_dim=sizes.ffn,
            activation="gelu",
            ffn_dropout=0.0,
            eps=1e-12,
        )
        self.encoder = make_encoder(layer, sizes.layers)
        self.size = size
        self.text = make_packing([words], [-1], None)
        self.both = uniform_packing(1, words + sizes.boxes)

    def on(self, device: str) -> RegionReader:
        """The same, with what it indexes by, on a device."""
        self.text, self.both = self.text.to(device), self.both.to(device)
        return self.to(device)

    def forward(self, text_ids: Tensor, kept: Kept) -> Tensor:
        """Maps (L,) int64 ids and N boxes to (L + N, D)."""
        rows = torch.cat([self.text_embeddings.embed(text_ids, self.text), self.embed(kept)])
        packing: Packing = self.both
        hidden: Tensor = self.encoder(rows, packing)
        return hidden

    def embed(self, kept: Kept) -> Tensor:
        """(N, D) what boxes show, and where they are, as UNITER embeds them."""
        looks = self.look_norm(self.look(kept.regions.features[kept.chosen]))
        places = self.place_norm(self.place(_places(kept.regions.boxes[kept.chosen], self.size)))
        segment = self.text_embeddings.token_type_embeddings.weight[1]
        rows: Tensor = self.norm(looks + places + segment)
        return rows


def _places(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 7) of corners (N, 4) in pixels."""
    height, width = size
    left, top, right, bottom = boxes.unbind(1)
    across, down = (right - left) / width, (bottom - top) / height
    edges = (left / width, top / height, right / width, bottom / height)
    return torch.stack([*edges, across, down, across * down], dim=1)
