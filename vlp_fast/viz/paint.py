"""Pictures that are drawn on: boxes, weights of cells, several side by side. Pillow and numpy."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vlp_fast.viz.colours import COLOURS

SIDE = 256
"""Pixels of the longer side of a picture on a page."""
GAP = 6
"""White pixels between pictures."""
HEAT = (213, 94, 0)
"""Of cells that are looked at most; the others are grey."""
LARGEST = 96
"""Boxes that are drawn, at most."""

Pixels = np.ndarray
"""(H, W, 3) uint8."""


def sized(picture: Tensor, side: int = SIDE) -> Pixels:
    """A (3, H, W) uint8 picture whose longer side has so many pixels."""
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().cpu().numpy())
    share = side / max(image.size)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def boxed(pixels: Pixels, corners: np.ndarray, *, tags: bool = True) -> Pixels:
    """A picture with boxes in it.

    Args:
        pixels: of the picture.
        corners: (n, 4), (x1, y1, x2, y2) in [0, 1] of it; the first boxes lie on top.
        tags: whether each has its number and its colour; all have the first colour if not.
    """
    image = Image.fromarray(pixels)
    draw, height, width = ImageDraw.Draw(image), *pixels.shape[:2]
    scale = np.array([width - 1, height - 1] * 2)
    places = [*enumerate(corners[:LARGEST] * scale)][::-1]
    for number, (x1, y1, x2, y2) in places:
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="white", width=4)
        colour = colour_of(number if tags else 0)
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=2)
    for number, (x1, y1, _, _) in places if tags else ():
        _tag(draw, (x1, y1), str(number + 1), colour_of(number))
    return np.asarray(image)


def heated(pixels: Pixels, weights: np.ndarray, largest: float | None = None) -> Pixels:
    """A picture in pale grey, and in colour where its cells have weight.

    Args:
        pixels: of the picture.
        weights: (h, w) of cells that cover it evenly.
        largest: the weight of the fullest colour; the largest of these if None.
    """
    height, width = pixels.shape[:2]
    top = float(weights.max()) if largest is None else largest
    share = np.clip(weights / top, 0, 1) if top > 0 else np.zeros_like(weights)
    cells = Image.fromarray((share * 255).astype(np.uint8))
    shares = np.asarray(cells.resize((width, height), Image.Resampling.NEAREST)) / 255
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None] * 0.45 + 255 * 0.5
    mixed = grey * (1 - 0.85 * shares[..., None]) + np.array(HEAT) * 0.85 * shares[..., None]
    return mixed.round().astype(np.uint8)


def beside(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures side by side, white between and below them."""
    height = max(picture.shape[0] for picture in pictures)
    gap = np.full((height, GAP, 3), 255, np.uint8)
    parts = []
    for picture in pictures:
        below = ((0, height - picture.shape[0]), (0, 0), (0, 0))
        parts += [np.pad(picture, below, constant_values=255), gap]
    return np.concatenate(parts[:-1], axis=1)


def below(rows: Sequence[Pixels]) -> Pixels:
    """Pictures one below another, white between and beside them."""
    turned = beside([row.transpose(1, 0, 2) for row in rows])
    return np.ascontiguousarray(turned.transpose(1, 0, 2))


def png_of(pixels: Pixels) -> bytes:
    """As a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def colour_of(number: int) -> str:
    """Of the box with that number, from 0."""
    return COLOURS[number % len(COLOURS)]


def _tag(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: str) -> None:
    font = ImageFont.load_default(12)
    x, y = corner
    left, top, right, bottom = draw.textbbox((x + 4, y + 2), text, font=font)
    draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=colour, outline="white")
    draw.text((x + 4, y + 2), text, fill="white", font=font)
