"""What both models are: they see pictures, and read texts beside what they saw.

Downstream tasks are written against this alone and work on either system. The CNN runs once an
image, however many texts it is read with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from vlp_fast.layers.all_pairs import encode_all_pairs
from vlp_fast.layers.backbone import ResNet
from vlp_fast.layers.embeddings import TextEmbeddings
from vlp_fast.layers.first_rows import encode_first_rows
from vlp_fast.layers.positions import Positions, TablePositions
from vlp_fast.layers.transformer import Encoder
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing, uniform_packing

Sizes = Sequence[tuple[int, int]]
"""(height, width) of each image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What the images of a batch became.

    Attributes:
        cells: (P, D), a row for each valid cell, in the grid's order: what texts are read with.
    """

    cells: Tensor


class VisionLanguageModel(nn.Module, ABC):
    """A model of text and picture, whichever of the two.

    Shape suffixes: B images, P valid cells, S sequences, T packed rows, D width, V words.

    Attributes:
        canvas_multiple: what batches are padded to multiples of besides, for fewer shapes.
    """

    canvas_multiple: int = 1
    backbone: ResNet
    text_embeddings: TextEmbeddings
    encoder: Encoder

    @property
    @abstractmethod
    def pad_multiple(self) -> int:
        """A batch's padded height and width are multiples of this many pixels."""

    @abstractmethod
    def grid_sizes(
        self, image_sizes: Sizes, padded_size: tuple[int, int]
    ) -> tuple[tuple[tuple[int, int], ...], tuple[int, int]]:
        """The arguments of `make_grid`, from (height, width) in pixels; host integers only."""

    @abstractmethod
    def features(self, images: Tensor, grid: Grid, image_sizes: Sizes) -> Tensor:
        """(P, D) what the CNN says of every valid cell, in the width of the Transformer."""

    @abstractmethod
    def see(self, images: Tensor, grid: Grid, image_sizes: Sizes, *, codes: bool = True) -> Seen:
        """Look at images.

        Args:
            images: (B, 3, H, W), padded at the bottom and the right: uint8 RGB, or float,
                normalised and zero in the padding.
            grid: valid cells, made from `grid_sizes`.
            image_sizes: (height, width) of each image, in pixels.
            codes: SOHO: the codes of its dictionary, as in pre-training, or the features in front
                of it, as downstream (section 4.2). No difference to E2E-VLP.
        """

    @abstractmethod
    def cell_rows(self, seen: Seen, grid: Grid) -> tuple[Tensor, TablePositions | None]:
        """(P, D) rows of all cells as the encoder reads them, and their positions if apart."""

    @abstractmethod
    def joined_rows(
        self, text_ids: Tensor, seen: Seen, grid: Grid, packing: Packing
    ) -> tuple[Tensor, Positions | None]:
        """Lay out what the encoder reads: (T, D) rows, and their positions if these are apart.

        Arguments and errors are those of `read`.
        """

    def read(self, text_ids: Tensor, seen: Seen, grid: Grid, packing: Packing) -> Tensor:
        """Encode sequences of text tokens and grid cells.

        Args:
            text_ids: (L,) int64, tokens of all sequences, [CLS] first; (0,) without texts.
            seen: from `see`.
            grid: of the cells.
            packing: of S sequences, any of which may lack text or image; several may show one
                image.

        Returns:
            (T, D) rows, in the packing's order.

        Raises:
            ValueError: if a text is longer than the position embeddings, or `text_ids` is not as
                long as the packing says.
        """
        rows, positions = self.joined_rows(text_ids, seen, grid, packing)
        hidden: Tensor = self.encoder(rows, packing, positions)
        return hidden

    def read_first(self, text_ids: Tensor, seen: Seen, grid: Grid, packing: Packing) -> Tensor:
        """Encode sequences as `read` does, and return the first row of each: (S, D), [CLS].

        The same numbers but for rounding, in less time: of the last layer nothing else is computed.
        Arguments and errors are those of `read`.
        """
        rows, positions = self.joined_rows(text_ids, seen, grid, packing)
        return encode_first_rows(self.encoder, rows, packing, positions)

    def read_all_pairs(self, text_ids: Tensor, seen: Seen, grid: Grid) -> Tensor:
        """Encode every text beside every image, and return the first row of each sequence, [CLS].

        What `read` gives for these sequences, but for rounding. Call in eval mode.

        Args:
            text_ids: (S, L) int64, texts of one length, [CLS] first.
            seen: from `see`.
            grid: of the cells, of B images of one size.

        Returns:
            (B, S, D).

        Raises:
            ValueError: if the images are of other sizes, or texts longer than the position
                embeddings.
        """
        if len(set(grid.sizes)) != 1:
            raise ValueError(
                f"read_all_pairs: received images of {len(set(grid.sizes))} sizes in cells, "
                "expected one; group them by it"
            )
        packing = uniform_packing(*text_ids.shape).to(text_ids.device)
        texts = self.text_embeddings.embed(text_ids.flatten(), packing)
        cells, positions = self.cell_rows(seen, grid)
        return encode_all_pairs(
            self.encoder,
            texts.unflatten(0, text_ids.shape),
            cells.unflatten(0, (grid.num_images, -1)),
            positions,
        )

    @abstractmethod
    def masked_word_logits(self, hidden: Tensor) -> Tensor:
        """Maps (M, D) rows of masked words to (M, V) logits."""

    @abstractmethod
    def match_logits(self, hidden: Tensor) -> Tensor:
        """Maps (S, D) rows of [CLS] to (S, 2) logits; index 1 means that text and image match."""


def sampled_size(
    size: tuple[int, int], canvas: tuple[int, int], map_size: tuple[int, int]
) -> tuple[int, int]:
    """Counts the (rows, columns) of a map that are an image's, by a mask sampled at one pixel each.

    As `interpolate(mask, map_size)`, nearest, of a mask of the image's pixels on a canvas.

    Args:
        size: (height, width) of the image, in pixels.
        canvas: (height, width) of the mask, in pixels.
        map_size: (height, width) of the map, in cells.
    """
    rows, columns = (
        sum(cell * pixels // cells < valid for cell in range(cells))
        for valid, pixels, cells in zip(size, canvas, map_size, strict=True)
    )
    return rows, columns
