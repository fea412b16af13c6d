"""Tile sizes by architecture, from what the compiler makes of them; none measured yet.

`tests/kernels/triton_resources.csv` holds the registers and the shared memory behind each choice.
"""

from typing import NamedTuple

import torch


class SearchTile(NamedTuple):
    """Of the search for the nearest code: rows x codes, `depth` columns at a time.

    `rows`, `warps` and `stages` are those of the pass over all rows. The pass over rows in doubt
    takes fewer at a time: some lists are short.
    """

    rows: int
    codes: int
    depth: int
    warps: int
    stages: int
    registers: int | None = None  # at most; None: as the compiler likes
    doubtful_rows: int = 64
    exact_depth: int = 32

    def assign_options(self) -> dict[str, int | None]:
        """Options of `assign_kernel`."""
        return {
            "BLOCK_N": self.rows,
            "BLOCK_K": self.codes,
            "BLOCK_D": self.depth,
            "num_warps": self.warps,
            "num_stages": self.stages,
            "maxnreg": self.registers,
        }

    def resolve_options(self) -> dict[str, int | None]:
        """Options of `resolve_kernel`."""
        smaller = {"BLOCK_N": self.doubtful_rows, "BLOCK_EXACT": self.exact_depth}
        return self.assign_options() | smaller | {"maxnreg": None}


class SearchRow(NamedTuple):
    """Tiles from one architecture upwards: rows as they are, and rows that are centred."""

    architecture: int
    as_they_are: SearchTile
    centred: SearchTile


# Small, so that small tests have several tiles and a tail.
INTERPRETED = SearchTile(32, 32, 32, 4, 1, doubtful_rows=16, exact_depth=32)

# A row tile of half precision takes 16 KiB a stage, one of float32 32 KiB, one of codes 16 KiB, and
# mma.sync needs one stage less in shared memory than there are.
# On Hopper, 128 registers a thread, without spills, let two programs share an SM: while one reduces
# its tile or fills its pipeline, the other multiplies. Elsewhere, and for centred rows, that many
# spill. Ampere's consumer parts, Ada and sm_120 have 99 KiB of shared memory a program, the A100
# 163 KiB, Hopper and sm_100 227 KiB. `search_tile` takes the first row that fits.
SEARCH = (
    SearchRow(100, SearchTile(128, 128, 64, 8, 4), SearchTile(128, 128, 64, 8, 3)),
    SearchRow(90, SearchTile(128, 128, 64, 8, 3, 128), SearchTile(128, 128, 64, 8, 3)),
    SearchRow(80, SearchTile(128, 128, 64, 8, 4), SearchTile(128, 128, 64, 8, 3)),
    SearchRow(0, INTERPRETED, INTERPRETED),
)


def search_tile(architecture: int, operand_dtype: torch.dtype, is_centred: bool) -> SearchTile:
    """Return the tile for an architecture, e.g. 90, and what products take and rows need."""
    row = next(row for row in SEARCH if architecture >= row.architecture)
    tile = row.centred if is_centred else row.as_they_are
    # As many bytes for float32 products, which only the interpreter prepares by itself.
    return tile._replace(depth=tile.depth // 2) if operand_dtype == torch.float32 else tile


class NormTile(NamedTuple):
    """Of passes over whole rows: `rows` of them at a time, `columns` is a power of two."""

    rows: int
    columns: int
    warps: int


# Eight values of a thread and tensor at a time: twice as many cost a backward pass 128 registers a
# thread at width 256, and eight bytes of spills at 768 on Hopper.
_NORM_VALUES, _NORM_THREADS = 1024, 128
WIDEST_NORM = 8192


def norm_tile(function: str, width: int) -> NormTile:
    """Return the tile for rows of a width.

    Raises:
        ValueError: rows are wider than a program holds.
    """
    if width > WIDEST_NORM:
        raise ValueError(
            f"{function}: received rows of {width} values for Triton, expected at most "
            f"{WIDEST_NORM}; there the backend is `reference`"
        )
    columns = max(16, 1 << (width - 1).bit_length())
    rows = min(max(1, _NORM_VALUES // columns), 16)
    per_warp = 32 * _NORM_VALUES // _NORM_THREADS
    return NormTile(rows, columns, min(max(1, rows * columns // per_warp), 16))


class ProductTile(NamedTuple):
    """Of a linear layer: rows x outputs, `depth` columns at a time, `group` rows of tiles."""

    rows: int
    features: int
    depth: int
    warps: int
    stages: int
    group: int = 8

    def programs(self, rows: int, features: int) -> tuple[int]:
        """The grid: one program for each tile of the output."""
        return (-(-rows // self.rows) * -(-features // self.features),)

    def options(self) -> dict[str, int]:
        """Constants and options of `linear_with_positions_kernel`."""
        return {
            "BLOCK_T": self.rows,
            "BLOCK_F": self.features,
            "BLOCK_D": self.depth,
            "GROUP": self.group,
            "num_warps": self.warps,
            "num_stages": self.stages,
        }


# A tile of 128 x 256 has 85 operations for a byte from the L2 cache, one of 128 x 128 has 64, and
# tensor cores of Hopper and sm_100 want more than either. 48 KiB a stage; elsewhere 32 KiB, as
# above. Wider tiles of float32 would spill.
PRODUCT = (
    (90, ProductTile(128, 256, 64, 8, 4)),
    (80, ProductTile(128, 128, 64, 8, 4)),
    (0, ProductTile(32, 32, 32, 4, 1, group=2)),
)


def product_tile(architecture: int, dtype: torch.dtype) -> ProductTile:
    """Return the tile of a linear layer for an architecture and the dtype of its operands."""
    # Consumer Blackwell has the shared memory of Ada.
    kind = 80 if architecture >= 120 else architecture
    tile = next(tile for oldest, tile in PRODUCT if kind >= oldest)
    if dtype == torch.float32:
        tile = tile._replace(features=min(tile.features, 128), depth=tile.depth // 2)
    return tile
