"""Embeddings in front of the encoder: BERT's for text, DETR's sine positions for grid cells.

Different from both sources: rows are packed (no padding), so positions come with the rows, and the
sine of a cell is computed from its own row, column and image size instead of a padded mask.

Shape suffixes: L text tokens of all sequences, P grid cells of all images, D width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp_fast.layers.heads import INIT_STD
from vlp_fast.layers.positions import TablePositions
from vlp_fast.ops.grid import Grid
from vlp_fast.ops.packing import Packing

EPSILON = 1e-6
"""Keeps DETR's normalisation by the image's size from dividing by zero."""


class SinePosition(nn.Module):
    """Computes DETR's normalised two-dimensional sine position of every grid cell.

    With y = 2 pi (row + 1) / (H + 1e-6), H the image's own valid height in cells, the first half of
    the features is sin(y / t_k), cos(y / t_k) in turn with t_k = temperature^(2k / (D/2)); the
    second half is the same of the column and the width.

    Args:
        width: D, a multiple of 4.
        temperature: ratio of the longest to the shortest wavelength.

    Raises:
        ValueError: if width is no multiple of 4.

    Source: DETR, PositionEmbeddingSine with normalize=True.
    """

    def __init__(self, width: int, temperature: float = 10000.0) -> None:
        super().__init__()
        if width % 4 or width < 4:
            raise ValueError(
                f"SinePosition: received width {width}, expected a multiple of 4 (sine and cosine "
                "of rows and of columns)"
            )
        self.width = width
        self.temperature = temperature

    def forward(self, grid: Grid) -> Tensor:
        """Returns (P, D) float32 positions, one row per cell of the grid."""
        return TablePositions(table=self.table(grid), indices=grid.places).rows()

    def on_rows(self, grid: Grid | None, packing: Packing) -> TablePositions:
        """Returns the positions of packed rows; rows of text have none, and no grid is all text."""
        if grid is None:
            table = packing.places.new_zeros(0, self.width, dtype=torch.float32)
        else:
            table = self.table(grid)
        return TablePositions(table=table, indices=packing.places)

    def table(self, grid: Grid) -> Tensor:
        """Returns (R, D) float32, the halves of the distinct rows and columns, zeros beside them.

        A cell's position is the sum of its two `Grid.places`.
        """
        waves = self._waves(_relative(grid.offsets, grid.extents))
        rows, columns = waves.split([grid.num_row_places, len(waves) - grid.num_row_places])
        half = self.width // 2
        return torch.cat([F.pad(rows, (0, half)), F.pad(columns, (half, 0))])

    def _waves(self, angle: Tensor) -> Tensor:
        pairs = self.width // 4
        exponent = torch.arange(pairs, device=angle.device, dtype=torch.float32) / pairs
        phase = angle[:, None] / self.temperature**exponent
        return torch.stack([phase.sin(), phase.cos()], dim=2).flatten(1)


class TextEmbeddings(nn.Module):
    """Computes dropout(LayerNorm(word + position + segment)), BERT's input of a token.

    Args:
        vocab_size: V, entries of the vocabulary.
        width: D.
        max_positions: longest text, in tokens.
        num_segments: segments that can be told apart.
        eps: of the layer norm, BERT's.
        dropout: rate behind the layer norm.

    Source: BERT; E2E-VLP section 3.1.1, SOHO section 3.3.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        max_positions: int,
        num_segments: int = 2,
        eps: float = 1e-12,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, width)
        self.position_embeddings = nn.Embedding(max_positions, width)
        self.token_type_embeddings = nn.Embedding(num_segments, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        for table in (self.word_embeddings, self.position_embeddings, self.token_type_embeddings):
            nn.init.normal_(table.weight, std=INIT_STD)

    @property
    def max_positions(self) -> int:
        """The longest text, in tokens."""
        return self.position_embeddings.num_embeddings

    def forward(self, ids: Tensor, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        """Maps token ids, positions and segments (zero if None), each (L,) int64, to (L, D)."""
        if segments is None:
            segment = self.token_type_embeddings.weight[0]
        else:
            segment = self.token_type_embeddings(segments)
        summed = self.word_embeddings(ids) + self.position_embeddings(positions) + segment
        embedded: Tensor = self.dropout(self.norm(summed))
        return embedded

    def embed(self, ids: Tensor, packing: Packing) -> Tensor:
        """Maps the text of a packing, (L,) int64 token ids, to (L, D).

        Raises:
            ValueError: if there are not as many ids as the packing says, or a text is longer than
                the position embeddings; known to the host, so nothing waits for the device.
        """
        longest, total = max(packing.text_lengths, default=0), sum(packing.text_lengths)
        if ids.shape != (total,):
            raise ValueError(
                f"TextEmbeddings: received token ids of shape {tuple(ids.shape)}, expected "
                f"({total},), as in the packing"
            )
        if longest > self.max_positions:
            raise ValueError(
                f"TextEmbeddings: received a text of {longest} tokens, expected at most "
                f"{self.max_positions}, the number of position embeddings; truncate it"
            )
        embedded: Tensor = self(ids, packing.text_positions)
        return embedded


def _relative(index: Tensor, size: Tensor) -> Tensor:
    """Places cell `index` of `size` on (0, 2 pi]."""
    return (index + 1).float() / (size.float() + EPSILON) * (2 * math.pi)
