"""E2E-VLP: one encoder-decoder from pixels and words (ACL 2021, figure 1 and section 3.1).

    images -> CNN -> valid cells -> 1x1 projection --+
                                                     +-> encoder -> masked words, matching
    words  -> word + position + segment, LN ---------+      |
                                                            +-> decoder <- object queries -> boxes
                                                            +-> decoder <- words so far -> next word

What the paper leaves open and this file decides: text rows get no sine position (their learned
position is in the embedding), boxes are read from any memory, and the decoder writes captions from
an image-only memory: a joint one would show it the answer. Words are embedded and scored by one
matrix everywhere. Queries, heads and the shared final norm are DETR's.

Shape suffixes: B images, P grid cells, S sequences, T rows, L text tokens, D width, A decoder
layers, Q queries, C classes, R attributes, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlp_fast.layers.backbone import ResNet
from vlp_fast.layers.embeddings import SinePosition, TextEmbeddings
from vlp_fast.layers.heads import BoxHead, ClassHead, MaskedLanguageHead, MatchingHead
from vlp_fast.layers.positions import Positions, TablePositions
from vlp_fast.layers.sampling import greedy
from vlp_fast.layers.sequences import Spans
from vlp_fast.layers.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    LayerConfig,
    make_encoder,
)
from vlp_fast.models.backbone import build_backbone
from vlp_fast.models.caption_writer import CaptionWriter
from vlp_fast.models.config import E2EVLPConfig, ValidCells
from vlp_fast.models.model import Seen, Sizes, VisionLanguageModel, sampled_size
from vlp_fast.ops.grid import Grid, gather_cells
from vlp_fast.ops.packing import Packing, join_rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """What every decoder layer says about every query.

    Attributes:
        logits: (A, S, Q, C + 1) class logits; the last class is "no object".
        boxes: (A, S, Q, 4) as (cx, cy, w, h) in [0, 1] of the image's own size.
        attribute_logits: (A, S, Q, R + 1), the last one "no attribute"; None without the head.
    """

    logits: Tensor
    boxes: Tensor
    attribute_logits: Tensor | None


class E2EVLP(VisionLanguageModel):
    """The model of the paper's figure 1, in pieces that the tasks put together.

    Everything but the CNN works on packed rows, so results do not depend on batch mates. Made by
    `build_e2e_vlp`.

    Args:
        backbone: CNN, (B, 3, H, W) to (B, out_channels, h, w).
        text_embeddings: of the text; its word matrix also scores words.
        encoder: over text and grid rows.
        decoder: over object queries or caption tokens.
        width: D.
        num_queries: Q.
        num_classes: C, without the no-object class.
        num_attributes: R; 0 for no attribute head.
        valid_cells: which cells of a padded batch are an image's; see `E2EVLPConfig`.
    """

    def __init__(
        self,
        *,
        backbone: ResNet,
        text_embeddings: TextEmbeddings,
        encoder: Encoder,
        decoder: Decoder,
        width: int,
        num_queries: int,
        num_classes: int,
        num_attributes: int,
        valid_cells: ValidCells = "covered",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.valid_cells = valid_cells
        self.input_projection = nn.Linear(backbone.out_channels, width)
        self.sine_position = SinePosition(width)
        self.text_embeddings = text_embeddings
        self.encoder = encoder
        self.decoder = decoder
        # N(0, 1) as in DETR, so that queries start apart; no norm follows, as it does on words.
        self.query_positions = nn.Embedding(num_queries, width)
        self.class_head = ClassHead(width, num_classes)
        self.box_head = BoxHead(width)
        self.attribute_head = ClassHead(width, num_attributes) if num_attributes else None
        vocab_size = text_embeddings.word_embeddings.num_embeddings
        self.masked_word_head = MaskedLanguageHead(width, vocab_size)
        self.caption_head = MaskedLanguageHead(width, vocab_size, transform=False)
        self.matching_head = MatchingHead(width)

    @property
    def pad_multiple(self) -> int:
        """1: a batch is padded to the largest height and width in it."""
        return 1

    def grid_sizes(
        self, image_sizes: Sizes, padded_size: tuple[int, int]
    ) -> tuple[tuple[tuple[int, int], ...], tuple[int, int]]:
        """Computes the arguments of `make_grid` from sizes in pixels.

        Args:
            image_sizes: (height, width) of each image.
            padded_size: (height, width) of the batch.

        Returns:
            Valid (height, width) of each image in cells, and that of the padded map.
        """
        map_size = self.backbone.feature_size(padded_size)
        if self.valid_cells == "detr":
            sampled = (sampled_size(size, padded_size, map_size) for size in image_sizes)
            return tuple(sampled), map_size
        return tuple(self.backbone.feature_size(size) for size in image_sizes), map_size

    def features(self, images: Tensor, grid: Grid, image_sizes: Sizes | None = None) -> Tensor:
        """Computes the projected feature of every valid cell.

        Args:
            images: (B, 3, H, W), padded at the bottom and the right: uint8 RGB, which needs
                `image_sizes`, or float, normalised and zero in the padding.
            grid: made from `grid_sizes`.
            image_sizes: (height, width) in pixels, for bytes and for a backbone that masks its
                padding.

        Returns:
            (P, D).
        """
        cells: Tensor = self.input_projection(
            gather_cells(self.backbone(images, image_sizes), grid)
        )
        return cells

    def see(self, images: Tensor, grid: Grid, image_sizes: Sizes, *, codes: bool = True) -> Seen:
        """Looks at images: their projected features; arguments as of `features`.

        Args:
            codes: of no consequence here; SOHO's `see` has it.
        """
        return Seen(cells=self.features(images, grid, image_sizes))

    def cell_rows(self, seen: Seen, grid: Grid) -> tuple[Tensor, TablePositions]:
        """The projected features (P, D), and DETR's sine positions of them."""
        table = self.sine_position.table(grid)
        return seen.cells, TablePositions(table=table, indices=grid.places)

    def joined_rows(
        self, text_ids: Tensor, seen: Seen, grid: Grid, packing: Packing
    ) -> tuple[Tensor, Positions]:
        """Lays out texts and the cells of their images, with the sine positions of the cells."""
        text = self.text_embeddings.embed(text_ids, packing)
        rows = join_rows(text, seen.cells.index_select(0, packing.grid_cells), packing)
        return rows, self.sine_position.on_rows(grid, packing)

    def detect(self, memory: Tensor, grid: Grid, packing: Packing) -> Detections:
        """Predicts objects from a memory of S sequences, with or without text.

        Args:
            memory: (T, D) from `read`.
            grid: of the cells in the memory.
            packing: of the memory.
        """
        queries = self.query_positions.weight
        num_sequences, num_queries = packing.num_sequences, queries.shape[0]
        numbers = torch.arange(num_queries, dtype=torch.int32, device=memory.device)
        positions = TablePositions(table=queries, indices=numbers.repeat(num_sequences)[:, None])
        hidden_ATD = self.decoder(
            queries.new_zeros(num_sequences * num_queries, queries.shape[1]),
            Spans.uniform(num_sequences, num_queries, memory.device),
            memory,
            packing,
            query_positions=positions,
            memory_positions=self.sine_position.on_rows(grid, packing),
        )
        hidden = hidden_ATD.unflatten(1, (num_sequences, num_queries))
        return Detections(
            logits=self.class_head(hidden),
            boxes=self.box_head(hidden),
            attribute_logits=None if self.attribute_head is None else self.attribute_head(hidden),
        )

    def caption_logits(
        self,
        caption_ids: Tensor,
        caption_packing: Packing,
        memory: Tensor,
        grid: Grid,
        packing: Packing,
    ) -> Tensor:
        """Scores the next word behind every caption token, given the tokens up to it (Eq. 2).

        Args:
            caption_ids: (L,) int64, captions without their last token.
            caption_packing: of the S captions.
            memory: (T, D), encoded from images alone; caption i is about sequence i.
            grid: of the cells in the memory.
            packing: of the memory, S sequences.

        Returns:
            (L, V) logits.

        Raises:
            ValueError: if there are not as many captions as sequences, or a caption is too long.
        """
        if caption_packing.num_sequences != packing.num_sequences:
            raise ValueError(
                f"caption_logits: received {caption_packing.num_sequences} captions and "
                f"{packing.num_sequences} memories, expected one memory for each; repeat "
                "memories with select_sequences"
            )
        hidden_ATD = self.decoder(
            self.text_embeddings.embed(caption_ids, caption_packing),
            caption_packing,
            memory,
            packing,
            memory_positions=self.sine_position.on_rows(grid, packing),
            causal=True,
        )
        return self._word_logits(hidden_ATD[-1])

    def masked_word_logits(self, hidden: Tensor) -> Tensor:
        """Maps encoder rows of masked tokens (M, D) to (M, V) logits (MLM)."""
        logits: Tensor = self.masked_word_head(hidden, self.text_embeddings.word_embeddings.weight)
        return logits

    def match_logits(self, hidden: Tensor) -> Tensor:
        """Maps encoder rows of [CLS] (S, D) to (S, 2) logits; index 1 is "text and image match"."""
        logits: Tensor = self.matching_head(hidden)
        return logits

    def writer(
        self, memory: Tensor, grid: Grid, packing: Packing, *, start_id: int
    ) -> CaptionWriter:
        """Makes the language model of captions of S sequences: for `beam_search` and `sample`.

        Call in eval mode.

        Args:
            memory: (T, D), encoded from images alone.
            grid: of the cells in the memory.
            packing: of the memory, S sequences.
            start_id: token in front of every caption, [CLS].
        """
        return CaptionWriter(
            decoder=self.decoder,
            text_embeddings=self.text_embeddings,
            word_logits=self._word_logits,
            memory=memory,
            memory_sequences=packing,
            memory_positions=self.sine_position.on_rows(grid, packing),
            start_id=start_id,
        )

    def generate(
        self,
        memory: Tensor,
        grid: Grid,
        packing: Packing,
        *,
        start_id: int,
        end_id: int,
        max_length: int,
    ) -> Tensor:
        """Writes one caption for each sequence, greedily, all at once; arguments as of `writer`.

        Args:
            end_id: token that ends a text, [SEP].
            max_length: tokens to return.

        Returns:
            (S, max_length) int64, without the start; `end_id` from the end of each text on.

        Raises:
            ValueError: if max_length is below 1 or beyond the position embeddings, or end_id is no
                word.
        """
        writer = self.writer(memory, grid, packing, start_id=start_id)
        return greedy(writer, end_id=end_id, max_length=max_length).ids

    def _word_logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.caption_head(hidden, self.text_embeddings.word_embeddings.weight)
        return logits


def build_e2e_vlp(config: E2EVLPConfig) -> E2EVLP:
    """Builds the model that a configuration describes, with random weights.

    Transformer matrices start Xavier-uniform as in DETR, text embeddings N(0, 0.02) as in BERT.

    Raises:
        ValueError: for values that no model can have.
    """
    layer = _layer(config)
    return E2EVLP(
        backbone=build_backbone(config.backbone),
        text_embeddings=TextEmbeddings(
            config.vocab_size, config.width, config.max_positions, dropout=config.dropout
        ),
        encoder=make_encoder(layer, config.encoder_layers),
        decoder=Decoder(
            [DecoderLayer(layer) for _ in range(config.decoder_layers)], nn.LayerNorm(config.width)
        ),
        width=config.width,
        num_queries=config.num_queries,
        num_classes=config.num_classes,
        num_attributes=config.num_attributes,
        valid_cells=config.valid_cells,
    )


def _layer(config: E2EVLPConfig) -> LayerConfig:
    return LayerConfig(
        width=config.width,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        ffn_dim=config.ffn_dim,
        activation=config.activation,
        norm_first=config.norm_first,
        dropout=config.dropout,
    )
