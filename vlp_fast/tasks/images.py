"""From the decoded pictures of a batch to one padded tensor and the grid of its valid cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.data.transforms import pad_images
from vlp_fast.ops.grid import Grid, make_grid

Sizes = tuple[tuple[int, int], ...]
"""(height, width) of each image."""
Geometry = Callable[[Sizes, tuple[int, int]], tuple[Sizes, tuple[int, int]]]
"""A model's `grid_sizes`."""


def batch_images(
    examples: Sequence[Example], geometry: Geometry, pad_multiple: int
) -> tuple[Tensor, Sizes, Grid]:
    """Pad the pictures of a batch, and index the cells that they fill, on the host.

    Args:
        examples: B decoded pictures.
        geometry: the model's `grid_sizes`.
        pad_multiple: the model's; height and width are multiples of this many pixels.

    Returns:
        (B, 3, H, W) float32 images, zero-padded; the valid size of each in pixels; the grid.
    """
    images, sizes = pad_images([e.image for e in examples], multiple=pad_multiple)
    return images, sizes, make_grid(*geometry(sizes, (images.size(2), images.size(3))))
