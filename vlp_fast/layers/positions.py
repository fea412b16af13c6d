"""Position encodings of packed rows as sums of few rows of a small table."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
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
        table = F.pad(self.table, (0, 0, 1, 0))  # row 0 for indices below 0; there may be no other
        return table[self.indices.clamp(min=-1) + 1].sum(1)


Positions = Tensor | TablePositions
"""Of rows (T, D): written out, (T, D), or as a table."""


def check_positions(name: str, x: Tensor, positions: Positions) -> None:
    """Refuses positions that are not one of D features for each row of x (T, D).

    Raises:
        ValueError: so; shapes alone are looked at.
    """
    if isinstance(positions, TablePositions):
        table, indices = positions.table.shape, positions.indices.shape
        if len(table) != 2 or table[1] != x.shape[1] or indices[:1] != x.shape[:1]:
            raise ValueError(
                f"{name}: received positions of a table {tuple(table)} and indices "
                f"{tuple(indices)}, expected (R, {x.shape[1]}) and ({x.shape[0]}, M) for rows "
                f"{tuple(x.shape)}; make them for the packing of these rows"
            )
    elif positions.shape != x.shape:
        raise ValueError(
            f"{name}: received positions of shape {tuple(positions.shape)}, expected "
            f"{tuple(x.shape)}, one for each row; expand or gather them"
        )
