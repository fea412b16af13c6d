"""Pictures drawn so that their files are as large as photographs' are, and as hard to decode."""

from __future__ import annotations

import numpy as np
from PIL import Image

NOISE, QUALITY = 14, 88
"""Which give half a byte a pixel as JPEG, as COCO's have."""
COARSE = 32
"""Pixels between two colours of what is smooth."""


def draw_photograph(draw: np.random.Generator, height: int, width: int) -> Image.Image:
    """Draw smooth colours with noise in all of their channels alike."""
    shape = (height // COARSE, width // COARSE, 3)
    small = Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels = smooth + draw.normal(0, NOISE, smooth.shape[:2])[..., None].round().astype(int)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
