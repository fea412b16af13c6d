"""Random cells of a picture in place of all (Pixel-BERT's random pixel sampling).

A step reads texts beside a few cells of each picture, others each time it is shown, which is faster
and said to keep a model from leaning on single cells. Both papers' baseline. Evaluation reads all.

Drawn for each picture among its own cells. Pixel-BERT's public imitation draws one set for a whole
batch, padding included (ClipBERT).

Source: Huang et al., Pixel-BERT (arXiv:2004.00849): 100 cells, in pre-training only.
"""

from __future__ import annotations

from collections.abc import Sequence

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.ops.grid import Grid


def sampled_cells(
    examples: Sequence[Example], grid: Grid, *, most: int | None, seed: int, epoch: int
) -> list[list[int] | None]:
    """Draw cells of each picture, ascending; None where it has no more than that.

    Args:
        examples: B pictures.
        grid: their cells.
        most: cells of a picture; None for all.
        seed: of the run.
        epoch: with the picture, the key of the draw.
    """
    return [
        _drawn(height * width, most, seed, epoch, example.index)
        for example, (height, width) in zip(examples, grid.sizes, strict=True)
    ]


def _drawn(cells: int, most: int | None, seed: int, epoch: int, index: int) -> list[int] | None:
    if most is None or cells <= most:
        return None
    draw = generator(seed, epoch, index, "cells")
    found: list[int] = sorted(draw.choice(cells, most, replace=False).tolist())
    return found
