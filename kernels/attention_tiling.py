"""Tiles of attention by architecture and head width, from what the compiler makes of them.

`tests/kernels/triton_resources.csv` holds the registers and the shared memory behind each choice;
none measured yet.
"""

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


# Small and not square, so that small tests have several tiles, and a tail in each direction.
INTERPRETED = AttentionTiles(
    AttentionTile(16, 32, 4, 1), AttentionTile(16, 32, 4, 1), AttentionTile(16, 32, 4, 1)
)

_EXACT = AttentionTile(32, 32, 4, 1)
EXACT = AttentionTiles(_EXACT, _EXACT, _EXACT)

_NARROW = AttentionTiles(
    AttentionTile(128, 64, 4, 3), AttentionTile(64, 128, 4, 2), AttentionTile(128, 64, 4, 2)
)
TILES = {32: _NARROW, 64: _NARROW, 128: _NARROW, 256: _NARROW}


def attention_tiles(architecture: int, block_width: int, dtype: torch.dtype) -> AttentionTiles:
    """Return the tiles for an architecture, e.g. 90, a padded head width and a dtype."""
    if architecture == 0:
        return INTERPRETED
    if dtype == torch.float32:
        return EXACT
    return TILES[max(32, block_width)]
