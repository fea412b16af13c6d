"""From the decoded pictures of a batch to one padded tensor and the grid of its valid cells."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.data.transforms import pad_images
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.ops.grid import Grid, make_grid

Sizes = tuple[tuple[int, int], ...]
"""(height, width) of each image."""


def batch_images(
    examples: Sequence[Example], model: VisionLanguageModel
) -> tuple[Tensor, Sizes, Grid]:
    """Pad the pictures of a batch, and index the cells that they fill, on the host.

    Args:
        examples: B decoded pictures.
        model: that is to see them: its padding, and how many pixels make a cell.

    Returns:
        (B, 3, H, W) uint8 images, padded; the valid size of each in pixels; the grid.
    """
    images, sizes = pad_images([e.image for e in examples], multiple=model.pad_multiple)
    return images, sizes, make_grid(*model.grid_sizes(sizes, (images.size(2), images.size(3))))
