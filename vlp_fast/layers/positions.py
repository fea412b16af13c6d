"""Position encodings of packed rows as sums of few rows of a small table."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TablePositions:
    """Positions p[t] = sum over m of table[indices[t, m]], for T rows.

    A two-dimensional sine is one row of the table for the cell's row and one for its column; a
    learned position is a single row. What a layer makes of p is then linear in the table:
    (x + p) W = x W + sum over m of (table W)[indices[t, m]], and the table is far smaller than x.
    """

    table: Tensor
    """(R, D) float."""
    indices: Tensor
    """(T, M) int32, M of 1 or 2; below 0 nothing is added, as on rows of text."""

    def rows(self) -> Tensor:
        """Computes p, (T, D), for those who need it written out."""
        found = self.table[self.indices.clamp(min=0)].masked_fill(self.indices[..., None] < 0, 0.0)
        return found.sum(1)


Positions = Tensor | TablePositions
"""Of rows (T, D): written out, (T, D), or as a table."""
