"""From the pictures of a batch to one padded tensor and the grid of its valid cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vlp_fast.data.encoded import EncodedBatch, EncodedImage
from vlp_fast.data.examples import Example
from vlp_fast.data.transforms import canvas_of, pad_images
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.ops.grid import Grid, make_grid
from vlp_fast.tasks.inputs import Inputs

Sizes = tuple[tuple[int, int], ...]
"""(height, width) of each image."""


@dataclass(frozen=True, kw_only=True)
class Pictures(Inputs):
    """B pictures; a task adds what it needs besides.

    Attributes:
        images: (B, 3, H, W) uint8 RGB, padded.
        image_sizes: valid (height, width) of each, in pixels.
        grid: valid cells of the B feature maps.
    """

    images: Tensor
    image_sizes: Sizes
    grid: Grid

    @property
    def pixels(self) -> tuple[int, int]:
        """Of the pictures alone, and of their padded batch."""
        count, _, height, width = self.images.shape
        return sum(h * w for h, w in self.image_sizes), count * height * width


def batch_images(
    examples: Sequence[Example], model: VisionLanguageModel
) -> tuple[Tensor, Sizes, Grid]:
    """Pad the pictures of a batch, and index the cells that they fill, on the host.

    Args:
        examples: B pictures.
        model: that is to see them: its padding, and how many pixels make a cell.

    Returns:
        (B, 3, H, W) uint8 images, padded; the valid size of each in pixels; the grid. Where batches
        are decoded as a whole, an `EncodedBatch` is in the images' place until that is done.
    """
    sizes = tuple(example.size for example in examples)
    canvas = canvas_of(sizes, math.lcm(model.pad_multiple, model.canvas_multiple))
    images = _padded([example.image for example in examples], canvas)
    return images, sizes, make_grid(*model.grid_sizes(sizes, canvas))


def _padded(images: list[Any], canvas: tuple[int, int]) -> Any:
    if any(isinstance(image, EncodedImage) for image in images):
        return EncodedBatch(images=tuple(images), canvas=canvas)
    return pad_images(images, canvas)
