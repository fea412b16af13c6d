"""SOHO (CVPR 2021), Figure 2: one encoder over words and entries of a visual dictionary.

    image -> ResNet -> 1x1 convolution -> 2x2 max-pool -> visual dictionary          (d), (e), (f)
          -> [MASK] -> + 2-D sine position -> layer norm
    text  -> word + position + segment -> layer norm                                 (a), (b)
    [text | image] -> Transformer -> masked words, masked codes, match               (c), (g)

Rows are packed. The CNN and the dictionary see an image once, however many texts it is paired with.

Where the paper is silent: maps round up at the pool, and cells beyond the image never win in it,
nor do they enter the dictionary; visual tokens get BERT's layer norm and dropout, like the text
that they are concatenated with, and no segment embedding. `semantics="official"` is the published
code: maps round down, padding takes part in the pool and in the dictionary, a linear layer behind
the dictionary, no dropout on visual tokens, heads without transform and bias. Its other deviations
are switches of `SohoConfig`. `weights/soho_official.py` has the names of its weights.

The published code runs the neck once per text, this one once per image. Besides the time, only the
Laplace epsilon's weight, the sample size of running variances and the draw of masked images differ.

Shape suffixes: B images, P valid cells, T packed rows, D width, K codes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_fast.layers.backbone import ResNet
from vlp_fast.layers.embeddings import SinePosition, TextEmbeddings
from vlp_fast.layers.heads import MaskedLanguageHead, MatchingHead
from vlp_fast.layers.pixels import padding_mask
from vlp_fast.layers.residual_block import halve_padding, zero_padding
from vlp_fast.layers.transformer import Encoder, LayerConfig, make_encoder
from vlp_fast.layers.visual_dictionary import VisualDictionary
from vlp_fast.models.backbone import build_backbone
from vlp_fast.models.config import SohoConfig
from vlp_fast.models.label_masking import mask_random_label, mask_shared_position
from vlp_fast.models.model import Seen, Sizes, VisionLanguageModel, sampled_size
from vlp_fast.ops.grid import Grid, gather_cells
from vlp_fast.ops.packing import Packing, join_rows

BERT_EPS = 1e-12
"""Epsilon of BERT's layer norms; that of the visual tokens is torch's 1e-5, as published."""

OFFICIAL_PAD_MULTIPLE = 32
"""Pixels: the published code pads a batch to a multiple of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VisualTokens(Seen):
    """What the images of a batch became, by the dictionary.

    Attributes:
        cells: (P, D) what enters the encoder, before masking and position.
        features: (P, D) input of the dictionary, f; downstream tasks use it instead of the codes.
        quantised: (P, D) nearest codes, straight-through.
        indices: (P,) int64 of these codes: the labels of masked visual modelling.
    """

    features: Tensor
    quantised: Tensor
    indices: Tensor


class Soho(VisionLanguageModel):
    """SOHO as a whole; `build_soho` makes its parts from a configuration.

    One step:

    >>> sizes, map_size = model.grid_sizes(image_sizes, images.shape[-2:])
    >>> grid = make_grid(sizes, map_size)
    >>> packing = make_packing(text_lengths, image_of, grid)
    >>> tokens = model.embed_image(images, grid, image_sizes)
    >>> masked = model.mask_labels(tokens.indices, grid, torch.rand(grid.num_cells))
    >>> hidden = model.read(text_ids, model.hide(tokens, masked), grid, packing)
    """

    def __init__(
        self,
        *,
        config: SohoConfig,
        backbone: ResNet,
        projection: nn.Conv2d,
        projection_norm: nn.Module | None,
        dictionary: VisualDictionary,
        code_projection: nn.Linear | None,
        gate: "CodeGate | None",
        text_embeddings: TextEmbeddings,
        encoder: Encoder,
        word_head: MaskedLanguageHead,
        match_head: MatchingHead,
        code_head: nn.Linear | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.projection = projection
        self.projection_norm = projection_norm
        self.dictionary = dictionary
        self.code_projection = code_projection
        self.gate = gate
        self.mask_embedding = nn.Parameter(torch.randn(1, config.width))
        self.position = SinePosition(config.width)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(0.0 if self._is_official else config.dropout)
        self.text_embeddings = text_embeddings
        self.encoder = encoder
        self.word_head = word_head
        self.match_head = match_head
        self.code_head = code_head

    @property
    def _is_official(self) -> bool:
        return self.config.semantics == "official"

    @property
    def pad_multiple(self) -> int:
        """A batch's padded height and width are multiples of this many pixels."""
        return pad_multiple(self.config)

    def grid_sizes(
        self, image_sizes: Sizes, padded_size: tuple[int, int]
    ) -> tuple[tuple[tuple[int, int], ...], tuple[int, int]]:
        """Computes which cells of the visual tokens' map are valid; host integers only.

        Args:
            image_sizes: (height, width) of each image, in pixels.
            padded_size: (height, width) of the batch, in pixels.

        Returns:
            sizes: valid (height, width) of each image, in cells.
            map_size: (height, width) of the map, in cells.

        Raises:
            ValueError: if the batch is too small for one cell.
        """
        if self._is_official:
            return self._official_grid_sizes(image_sizes, padded_size)
        sizes = tuple(self._pooled(self.backbone.feature_size(size)) for size in image_sizes)
        return sizes, self._pooled(self.backbone.feature_size(padded_size))

    def features(self, images: Tensor, grid: Grid, image_sizes: Sizes) -> Tensor:
        """Computes the input of the dictionary, (P, D), from images as in `embed_image`."""
        return gather_cells(self._feature_map(images, image_sizes), grid)

    def see(self, images: Tensor, grid: Grid, image_sizes: Sizes, *, codes: bool = True) -> Seen:
        """Looks at images: their `VisualTokens`, or the features in front of the dictionary alone.

        Args:
            images: (B, 3, H, W), padded at the bottom and the right: uint8 RGB, or float,
                normalised and zero in the padding.
            grid: valid cells, made from `grid_sizes`.
            image_sizes: (height, width) of each image, in pixels.
            codes: False leaves the dictionary alone, as downstream tasks do (section 4.2).
        """
        if codes:
            return self.embed_image(images, grid, image_sizes)
        # As the dictionary compares them: the Transformer has learnt to read what is like codes.
        return Seen(cells=self.dictionary.normalise(self.features(images, grid, image_sizes)))

    def embed_image(self, images: Tensor, grid: Grid, image_sizes: Sizes) -> VisualTokens:
        """Computes visual tokens, and updates the dictionary in training.

        Args:
            images: (B, 3, H, W), padded at the bottom and the right: uint8 RGB, or float,
                normalised and zero in the padding.
            grid: valid cells, made from `grid_sizes`.
            image_sizes: (height, width) of each image, in pixels.

        Returns:
            The tokens of all images, in the grid's order.
        """
        map_BDhw = self._feature_map(images, image_sizes)
        if self._is_official:
            # The published dictionary, and the norm of its gate, see the padding too.
            rows = map_BDhw.permute(0, 2, 3, 1).flatten(0, 2)
        else:
            rows = gather_cells(map_BDhw, grid)
        quantised, indices = self.dictionary(rows)
        embedding = quantised if self.code_projection is None else self.code_projection(quantised)
        if self.gate is not None:
            embedding = self.gate(embedding, rows)
        every = VisualTokens(features=rows, quantised=quantised, indices=indices, cells=embedding)
        return _select(every, grid.cell_index) if self._is_official else every

    def mask_labels(self, indices: Tensor, grid: Grid, noise: Tensor) -> Tensor:
        """Chooses the cells that masked visual modelling hides; see `label_masking.py`.

        Args:
            indices: (P,) int64, of `VisualTokens`.
            grid: the cells.
            noise: (P,) float, uniform in [0, 1).

        Returns:
            (P,) bool, True on hidden cells.
        """
        rate = self.config.mvm_rate
        if self.config.mvm_shared_position:
            return mask_shared_position(indices, grid, noise, rate=rate)
        return mask_random_label(indices, grid, noise, num_codes=self.config.num_codes, rate=rate)

    def hide(self, tokens: Seen, masked: Tensor) -> Seen:
        """Replaces cells by the mask embedding.

        For every text of the image, foreign ones too: masks on matching pairs only would give the
        matching away.

        Args:
            tokens: of all images.
            masked: (P,) bool, the cells.
        """
        mask = self.mask_embedding.to(tokens.cells.dtype)
        return Seen(cells=torch.where(masked[:, None], mask, tokens.cells))

    def cell_rows(self, seen: Seen, grid: Grid) -> tuple[Tensor, None]:
        """Adds positions to visual tokens and normalises them, (P, D)."""
        # float32 in a module of half precision, which its norm would refuse.
        position_PD = self.position(grid).to(self.norm.weight.dtype)
        return self.norm(seen.cells + position_PD), None

    def joined_rows(
        self, text_ids: Tensor, seen: Seen, grid: Grid, packing: Packing
    ) -> tuple[Tensor, None]:
        """Lays out texts and the visual tokens of their images, whose positions are in them."""
        visual_PD, _ = self.cell_rows(seen, grid)
        visual = self.dropout(visual_PD.index_select(0, packing.grid_cells))
        text = self.text_embeddings.embed(text_ids, packing)
        return join_rows(text, visual, packing), None

    def masked_word_logits(self, hidden: Tensor) -> Tensor:
        """Maps (M, D) rows of masked words to (M, V) logits, V words."""
        logits: Tensor = self.word_head(hidden, self.text_embeddings.word_embeddings.weight)
        return logits

    def match_logits(self, hidden: Tensor) -> Tensor:
        """Maps (S, D) rows of [CLS] to (S, 2) logits; index 1 means that text and image match."""
        logits: Tensor = self.match_head(hidden)
        return logits

    def code_logits(self, hidden: Tensor) -> Tensor:
        """Maps (M, D) rows of grid cells to (M, K) logits over the dictionary.

        Without a layer of its own this is the cosine with the codes, which get no gradient: in
        [-1, 1], so the loss cannot fall far below ln K (published code; no temperature).
        """
        if self.code_head is None:
            self.dictionary.finish_update()
            codes = F.normalize(self.dictionary.embed, dim=1)
            return F.linear(F.normalize(hidden, dim=1), codes.to(hidden.dtype))
        logits: Tensor = self.code_head(hidden)
        return logits

    def _feature_map(self, images: Tensor, image_sizes: Sizes) -> Tensor:
        """Computes the map (B, D, h, w) of dictionary inputs, padding included."""
        x: Tensor = self.backbone(images, image_sizes)
        if self.config.pool and self.config.pool_first:
            x = self._pool(x, image_sizes)
        x = self.projection(x)
        if self.projection_norm is not None:
            x = self.projection_norm(x)
        if self.config.pool and not self.config.pool_first:
            x = self._pool(x, image_sizes)
        return x

    def _pool(self, x: Tensor, image_sizes: Sizes) -> Tensor:
        if self._is_official:
            return F.max_pool2d(x, 2)
        sizes = [self.backbone.feature_size(size) for size in image_sizes]
        padding = padding_mask(sizes, (x.shape[2], x.shape[3]), x.device)
        x = F.max_pool2d(torch.where(padding, -torch.inf, x), 2, ceil_mode=True)
        # A window is valid if its first cell is. Nothing but padding: finite, whatever comes next.
        return zero_padding(x, halve_padding(padding))

    def _pooled(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = size
        return ((height + 1) // 2, (width + 1) // 2) if self.config.pool else size

    def _official_grid_sizes(
        self, image_sizes: Sizes, padded_size: tuple[int, int]
    ) -> tuple[tuple[tuple[int, int], ...], tuple[int, int]]:
        """Samples the pixel mask at the nearest pixel of each cell, rounding down throughout.

        `legacy_square_mask`: the published code draws that mask on a square of the batch's height,
        so that the right of portraits is lost and the right padding of landscapes is not.
        """
        height, width = self.backbone.feature_size(padded_size)
        if self.config.pool:
            height, width = height // 2, width // 2
        if height < 1 or width < 1:
            raise ValueError(
                f"Soho.grid_sizes: received a batch of {padded_size} pixels, which is no cell "
                "after rounding down; use larger images"
            )
        canvas_width = padded_size[0] if self.config.legacy_square_mask else padded_size[1]
        canvas = (padded_size[0], canvas_width)
        sizes = tuple(sampled_size(size, canvas, (height, width)) for size in image_sizes)
        return sizes, (height, width)


class CodeGate(nn.Module):
    """Mixes codes with raw features by two softmax weights per cell (published code only).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * width, 2, 1, bias=False)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, codes: Tensor, features: Tensor) -> Tensor:
        """Maps (N, D) codes and (N, D) features to their (N, D) convex mixture."""
        scores = F.linear(torch.cat([codes, features], dim=1), self.conv.weight.flatten(1))
        weights = self.norm(scores).softmax(dim=1)
        mixture: Tensor = weights[:, :1] * codes + weights[:, 1:] * features
        return mixture


def build_soho(config: SohoConfig) -> Soho:
    """Builds SOHO from its configuration, with random weights."""
    is_official = config.semantics == "official"
    width = config.width
    backbone = build_backbone(config.backbone)
    return Soho(
        config=config,
        backbone=backbone,
        projection=_initialised(
            nn.Conv2d(backbone.out_channels, width, 1, bias=not config.conv_bn)
        ),
        projection_norm=nn.BatchNorm2d(width) if config.conv_bn else None,
        dictionary=VisualDictionary(
            config.num_codes,
            width,
            config.momentum,
            "paper" if config.ema_rule == "eq4" else "official",
            normalize_input=config.normalize_input,
            revival=config.revival,
        ),
        code_projection=nn.Linear(width, width) if is_official else None,
        gate=CodeGate(width) if config.gate else None,
        text_embeddings=TextEmbeddings(
            config.vocab_size, width, config.max_positions, dropout=config.dropout
        ),
        encoder=make_encoder(_layer(config), config.layers),
        word_head=MaskedLanguageHead(
            width, config.vocab_size, transform=not is_official, bias=not is_official
        ),
        match_head=MatchingHead(width, bias=not is_official),
        code_head=nn.Linear(width, config.num_codes) if config.mvm_head == "linear" else None,
    )


def pad_multiple(config: SohoConfig) -> int:
    """Returns what a batch's padded height and width are multiples of, in pixels."""
    return OFFICIAL_PAD_MULTIPLE if config.semantics == "official" else 1


def _layer(config: SohoConfig) -> LayerConfig:
    return LayerConfig(
        width=config.width,
        num_heads=config.num_heads,
        ffn_dim=config.ffn_dim,
        activation="gelu",
        norm_first=config.norm_first,
        dropout=config.dropout,
        ffn_dropout=0.0,  # BERT's and the published code's has none
        eps=BERT_EPS,
    )


def _initialised(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def _select(tokens: VisualTokens, cells: Tensor) -> VisualTokens:
    return VisualTokens(
        features=tokens.features[cells],
        quantised=tokens.quantised[cells],
        indices=tokens.indices[cells],
        cells=tokens.cells[cells],
    )
