"""Which pictures a padded batch has: as DETR's sampler draws them, and as the published SOHO's.

DETR's batches are random, whatever the pictures' aspects. The published SOHO knows two kinds, wide
ones and others, and batches are of one kind. Pictures are those of some steps of ours, so that both
sides do the same work in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .batches import Key


def random_batches(steps: Sequence[Sequence[Key]], draw: np.random.Generator) -> list[list[Key]]:
    """As many batches of the same pictures, in any order."""
    keys = [key for step in steps for key in step]
    order = draw.permutation(len(keys)).tolist()
    return _cut([keys[place] for place in order], len(steps))


def batches_by_kind(
    steps: Sequence[Sequence[Key]], aspects: np.ndarray, draw: np.random.Generator
) -> list[list[Key]]:
    """As many batches, all but one of pictures that are wide or of such that are not.

    Args:
        steps: of ours.
        aspects: width / height of every picture of the data set.
        draw: of the order.
    """
    keys = [key for batch in random_batches(steps, draw) for key in batch]
    alike = sorted(keys, key=lambda key: bool(aspects[key[1]] > 1))
    batches = _cut(alike, len(steps))
    return [batches[place] for place in draw.permutation(len(batches)).tolist()]


def _cut(keys: list[Key], count: int) -> list[list[Key]]:
    size = len(keys) // count
    return [keys[start : start + size] for start in range(0, len(keys), size)]
