"""E2E-VLP composed of DETR and BERT: padded, two passes of the encoder, heads on every row.

Xu et al. (ACL 2021), figure 1 and section 3. There is no public code of it; this is what its parts
come to. The first pass reads caption and picture together: words, matching, boxes; the second the
picture alone, from which the decoder writes another caption. B pictures, L tokens, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_fast.models.config import E2EVLPConfig

from . import bert, detr
from .batches import PairBatch
from .set_loss import Losses, Predictions, set_loss


class Outputs(NamedTuple):
    """What the model says of a batch."""

    words: Tensor
    """(B, L, V)."""
    matches: Tensor
    """(B, 2)."""
    found: Predictions
    captions: Tensor
    """(B, L', V)."""


class E2EVLP(nn.Module):
    """The composition; its parameters have the names and shapes of ours but for one matrix."""

    def __init__(self, config: E2EVLPConfig) -> None:
        super().__init__()
        width, words = config.width, config.vocab_size
        sizes = (width, config.num_heads, config.ffn_dim, config.dropout)
        assert config.backbone.depth is not None
        self.backbone = detr.resnet(config.backbone.depth)
        channels = 512 if config.backbone.depth < 50 else 2048
        self.input_projection = nn.Conv2d(channels, width, 1)
        positions = config.max_positions
        self.text_embeddings = bert.TextEmbeddings(words, width, positions, config.dropout)
        self.encoder = detr.Encoder(config.encoder_layers, *sizes)
        self.decoder = detr.Decoder(config.decoder_layers, *sizes)
        self.query_positions = nn.Embedding(config.num_queries, width)
        self.class_head = nn.Linear(width, config.num_classes + 1)
        self.box_head = detr.BoxHead(width)
        attributes = config.num_attributes
        self.attribute_head = nn.Linear(width, attributes + 1) if attributes else None
        self.masked_word_head = bert.WordHead(width, words, transform=True)
        self.caption_head = bert.WordHead(width, words, transform=False)
        self.matching_head = nn.Linear(width, 2)

    def forward(
        self,
        images: Tensor,
        is_padding: Tensor,
        text_ids: Tensor,
        text_padding: Tensor,
        caption_ids: Tensor,
        caption_padding: Tensor,
    ) -> Outputs:
        """What the losses are of; arguments as of `PairBatch`."""
        features = self.backbone(images)["0"]
        cell_padding = detr.on_map(is_padding, features)
        places = detr.sine_positions(cell_padding, self.input_projection.out_channels)
        cells = self.input_projection(features).flatten(2).transpose(1, 2)
        cell_padding = cell_padding.flatten(1)
        text = self.text_embeddings(text_ids)
        joint_places = functional.pad(places, (0, 0, text.shape[1], 0))
        joint_padding = torch.cat([text_padding, cell_padding], 1)
        joint = self.encoder(torch.cat([text, cells], 1), joint_places, joint_padding)
        alone = self.encoder(cells, places, cell_padding)
        table = self.text_embeddings.word_embeddings.weight
        return Outputs(
            words=self.masked_word_head(joint[:, : text.shape[1]], table),
            matches=self.matching_head(joint[:, 0]),
            found=self._detect(joint, joint_places, joint_padding),
            captions=self._write(caption_ids, caption_padding, alone, places, cell_padding),
        )

    def losses(self, outputs: Outputs, batch: PairBatch) -> Losses:
        """Masked words, matching, boxes of every decoder layer, captions."""
        matches = functional.cross_entropy(outputs.matches.float(), batch.is_matched)
        return {
            "mlm": bert.word_loss(outputs.words, batch.word_labels),
            "itm": matches,
            "detection": set_loss(outputs.found, batch.annotations),
            "captioning": bert.word_loss(outputs.captions, batch.caption_labels),
        }

    def _detect(self, memory: Tensor, places: Tensor, is_padding: Tensor) -> Predictions:
        queries = self.query_positions.weight.expand(len(memory), -1, -1)
        hidden = self.decoder(
            torch.zeros_like(queries), memory, places, is_padding, query_positions=queries
        )
        attributes = None if self.attribute_head is None else self.attribute_head(hidden)
        return Predictions(self.class_head(hidden), self.box_head(hidden), attributes)

    def _write(
        self,
        ids: Tensor,
        is_padding: Tensor,
        memory: Tensor,
        places: Tensor,
        memory_padding: Tensor,
    ) -> Tensor:
        size = ids.shape[1]
        hidden = torch.ones(size, size, dtype=torch.bool, device=ids.device).triu(1)
        written = self.decoder(
            self.text_embeddings(ids),
            memory,
            places,
            memory_padding,
            is_padding=is_padding,
            hidden=hidden,
        )
        table = self.text_embeddings.word_embeddings.weight
        scores: Tensor = self.caption_head(written[-1], table)
        return scores
