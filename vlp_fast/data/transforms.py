"""From decoded pixels to a batch of bytes: resized and padded; the model normalises.

No flip and no crop: both contradict captions ("left of", objects that are cut away). Both papers
resize by the shorter side with a cap on the longer one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional


def resized(size: tuple[int, int], shorter: int | None, longer: int | None) -> tuple[int, int]:
    """Return the (height, width) that an image of `size` is resized to, by the papers' rule.

    The shorter side gets `shorter` pixels (E2E-VLP: 480 .. 800; SOHO: 600; None keeps the size)
    unless the longer side would then exceed `longer` (1333; 1000; None for no cap). The aspect
    is kept up to rounding, and no side gets below one pixel.
    """
    height, width = size
    scale = shorter / min(size) if shorter else 1.0
    if longer:
        scale = min(scale, longer / max(size))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (3, H, W) uint8 pixels to `size` (height, width), bilinear with antialiasing."""
    if (pixels.size(1), pixels.size(2)) == size:
        return pixels
    image: Tensor = functional.resize(pixels, list(size), antialias=True)
    return image


def shown(image: Tensor) -> Tensor:
    """Turn a (3, H, W) uint8 image into (H, W, 3) float32 in [0, 1], to be drawn."""
    return image.permute(1, 2, 0) / 255


def canvas_of(sizes: Sequence[tuple[int, int]], multiple: int = 1) -> tuple[int, int]:
    """Return the least (height, width) that holds all `sizes`, in multiples of so many pixels."""
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def pad_images(images: Sequence[Tensor], canvas: tuple[int, int]) -> Tensor:
    """Stack images of different sizes, padded with zeros at the right and at the bottom.

    Args:
        images: B tensors (3, H_i, W_i) uint8, channels last in memory or not.
        canvas: (H, W) to pad to.

    Returns:
        (B, 3, H, W) uint8, channels last in memory.
    """
    batch = torch.empty((len(images), *canvas, 3), dtype=torch.uint8, device="cpu")
    for place, image in zip(batch, images, strict=True):
        height, width = image.shape[1:]
        place[:height, :width].copy_(image.permute(1, 2, 0))
        place[height:].zero_()
        place[:height, width:].zero_()
    return batch.permute(0, 3, 1, 2)
