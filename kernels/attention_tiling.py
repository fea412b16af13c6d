"""Tiles of attention by architecture and head width, from what the compiler makes of them.

`tests/kernels/triton_resources.csv` holds the registers and the shared memory of heads up to 128 in
half precision, and of 64 in float32: nothing spills, and products of half precision take tensor
cores. Their speed is not yet measured.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch


class AttentionTile(NamedTuple):
    """Queries x keys that a program has in hand at a time."""

    queries: int
    keys: int
    warps: int
    stages: int

    def options(self) -> dict[str, int]:
        """Constants and options of a program."""
        return {
            "BLOCK_M": self.queries,
            "BLOCK_N": self.keys,
            "num_warps": self.warps,
            "num_stages": self.stages,
        }


class AttentionTiles(NamedTuple):
    """One for each program."""

    forward: AttentionTile
    of_keys: AttentionTile
    of_queries: AttentionTile


class AttentionRow(NamedTuple):
    """Tiles from one architecture upwards, by padded head width."""

    architecture: int
    tiles: Mapping[int, AttentionTiles]


# Small and not square, so that small tests have several tiles, and a tail in each direction.
INTERPRETED = AttentionTiles(
    AttentionTile(16, 32, 4, 1), AttentionTile(16, 32, 4, 1), AttentionTile(16, 32, 4, 1)
)

# Products of whole float32 numbers, without tensor cores unless TF32 is allowed: small tiles, in
# whose registers operands fit. Heads wider than 64 spill up to 16 bytes a thread all the same.
EXACT = {
    32: AttentionTiles(*(AttentionTile(32, 32, 4, 1),) * 3),
    64: AttentionTiles(*(AttentionTile(32, 32, 8, 1),) * 3),
    128: AttentionTiles(*(AttentionTile(16, 16, 4, 1),) * 3),
    256: AttentionTiles(*(AttentionTile(16, 16, 8, 1),) * 3),
}

# Ampere, Ada and consumer Blackwell: mma.sync keeps whole operands in registers. Keys and values
# stay there for the length of a program of their gradients, which is why it takes 32 at a time. At
# most 72 KiB of shared memory up to heads of 128: 99 KiB are Ada's.
_AMPERE = {
    32: AttentionTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(64, 32, 4, 2), AttentionTile(64, 64, 4, 2)
    ),
    64: AttentionTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(64, 32, 4, 2), AttentionTile(64, 32, 4, 2)
    ),
    128: AttentionTiles(
        AttentionTile(128, 32, 8, 2), AttentionTile(64, 32, 8, 2), AttentionTile(64, 64, 8, 2)
    ),
    256: AttentionTiles(
        AttentionTile(64, 32, 8, 2), AttentionTile(32, 32, 8, 1), AttentionTile(32, 32, 8, 1)
    ),
}

# Hopper: wgmma takes 64 rows a warpgroup, queries as well as keys. Up to heads of 64, two programs
# of 8 warps share an SM in the forward pass, two or three of 4 warps in the backward pass. Wider
# heads would spill there: gradients of keys of width 128 take 32 keys at a time, and mma.sync for
# the two products that have keys for rows; gradients of width 256 take mma.sync alone.
_HOPPER = {
    32: AttentionTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(64, 64, 4, 2), AttentionTile(64, 64, 4, 2)
    ),
    64: AttentionTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(64, 64, 4, 2), AttentionTile(64, 64, 4, 3)
    ),
    128: AttentionTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(128, 32, 8, 3), AttentionTile(128, 64, 8, 2)
    ),
    256: AttentionTiles(
        AttentionTile(64, 32, 8, 2), AttentionTile(32, 32, 8, 1), AttentionTile(32, 32, 8, 1)
    ),
}

# sm_100: accumulators lie in tensor memory, and products are at full rate from 128 rows on. 128
# keys as well would spill in causal gradients, and so would those of keys of width 128 with rows on
# their way while others are multiplied.
_BLACKWELL = {
    32: AttentionTiles(
        AttentionTile(128, 64, 4, 3), AttentionTile(128, 64, 8, 2), AttentionTile(128, 64, 8, 2)
    ),
    64: AttentionTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(128, 64, 8, 2), AttentionTile(128, 64, 8, 2)
    ),
    128: AttentionTiles(
        AttentionTile(128, 64, 8, 3), AttentionTile(64, 64, 8, 1), AttentionTile(128, 64, 8, 2)
    ),
    256: AttentionTiles(
        AttentionTile(64, 32, 8, 2), AttentionTile(32, 32, 8, 1), AttentionTile(32, 32, 8, 1)
    ),
}

TILES = (
    AttentionRow(120, _AMPERE),
    AttentionRow(100, _BLACKWELL),
    AttentionRow(90, _HOPPER),
    AttentionRow(80, _AMPERE),
)


def attention_tiles(architecture: int, block_width: int, dtype: torch.dtype) -> AttentionTiles:
    """Return the tiles for an architecture, e.g. 90, a padded head width and a dtype."""
    if architecture == 0:
        return INTERPRETED
    if dtype == torch.float32:
        return EXACT[max(32, block_width)]
    # GPUs older than the oldest row are refused at the launch.
    row = next((row for row in TILES if architecture >= row.architecture), TILES[-1])
    return row.tiles[max(32, block_width)]
