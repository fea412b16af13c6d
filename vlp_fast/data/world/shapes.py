"""Silhouettes of the world's objects: one antialiased mask for each kind and size in pixels.

Every outline fills its box from edge to edge: the box of an object is tight by construction. Masks
are rasterised once at `OVERSAMPLING` times the size and cached; a picture is a handful of pastes.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

KINDS = ("circle", "square", "triangle", "star", "heart", "cross", "moon", "ring")
TEXTURES = ("solid", "striped", "dotted")

OVERSAMPLING = 4
HOLE = 0.58  # inner over outer diameter of a ring: a small object fits into the hole of a large one
MOON_ASPECT = 0.74  # width over height; every other kind is as wide as high
_VISIBLE = 16  # alpha (of 255) from which a pixel counts as drawn


def silhouette_size(kind: str, side: int) -> tuple[int, int]:
    """Returns (width, height) in pixels of an object of this kind whose size is `side` pixels."""
    return (round(side * MOON_ASPECT), side) if kind == "moon" else (side, side)


@lru_cache(maxsize=4096)
def silhouette(kind: str, width: int, height: int) -> Image.Image:
    """Returns the coverage of each pixel of the object's box, mode "L", (width, height)."""
    return _reduced(_large_mask(kind, width, height))


@lru_cache(maxsize=4096)
def interior(kind: str, width: int, height: int) -> Image.Image:
    """Returns the silhouette without its dark rim, mode "L", (width, height)."""
    return _reduced(_large_interior(kind, width, height))


@lru_cache(maxsize=4096)
def texture(kind: str, name: str, width: int, height: int) -> Image.Image | None:
    """Returns the light part of the texture inside the rim, mode "L"; None where there is none."""
    if name == "solid":
        return None
    pattern = _pattern(name, width * OVERSAMPLING, height * OVERSAMPLING)
    return _reduced(ImageChops.multiply(_large_interior(kind, width, height), pattern))


@lru_cache(maxsize=4096)
def covered_pixels(kind: str, width: int, height: int) -> NDArray[np.bool_]:
    """Returns (height, width) bool: which pixels of the box the object covers visibly."""
    return np.asarray(silhouette(kind, width, height)) >= _VISIBLE


def _large_mask(kind: str, width: int, height: int) -> Image.Image:
    large = (width * OVERSAMPLING, height * OVERSAMPLING)
    mask = Image.new("L", large)
    pen = ImageDraw.Draw(mask)
    if kind in ("circle", "ring"):
        pen.ellipse(_scaled_box(large, 1.0), fill=255)
    else:
        extent = np.array([large[0] - 1, large[1] - 1])
        pen.polygon((_outline(kind) * extent).ravel().tolist(), fill=255)
    if kind == "ring":
        pen.ellipse(_scaled_box(large, HOLE), fill=0)
    return mask


def _large_interior(kind: str, width: int, height: int) -> Image.Image:
    """The mask eroded by the rim: 0.75 pixels wide on the smallest objects, 1.5 on the largest."""
    rim = round(OVERSAMPLING * (0.4 + 0.026 * height))
    mask = _large_mask(kind, width, height)
    padded = Image.new("L", (mask.width + 2 * rim, mask.height + 2 * rim))
    padded.paste(mask, (rim, rim))
    eroded = padded.filter(ImageFilter.MinFilter(2 * rim + 1))
    return eroded.crop((rim, rim, rim + mask.width, rim + mask.height))


def _pattern(name: str, width: int, height: int) -> Image.Image:
    """Stripes or dots over a quarter to a third of the box, coarse enough for small objects."""
    period = max(5.0 * OVERSAMPLING, 0.22 * height)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    if name == "striped":
        light = ((rows + columns) / (1.3 * period) % 1.0) < 0.33
    else:
        row = np.floor(rows / period)
        across = (columns / period + 0.5 * (row % 2)) % 1.0 - 0.5
        down = rows / period % 1.0 - 0.5
        light = across**2 + down**2 < 0.27**2
    return Image.fromarray(np.where(light, 255, 0).astype(np.uint8))


def _outline(kind: str) -> NDArray[np.float64]:
    """(n, 2) corners of the outline, stretched to fill the unit square; x right, y down."""
    corners = _OUTLINES[kind]()
    low, high = corners.min(axis=0), corners.max(axis=0)
    return np.asarray((corners - low) / (high - low), dtype=np.float64)


def _square() -> NDArray[np.float64]:
    return np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def _triangle() -> NDArray[np.float64]:
    return np.array([[0.0, 1.0], [0.5, 0.0], [1.0, 1.0]])


def _star() -> NDArray[np.float64]:
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.46)
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def _heart() -> NDArray[np.float64]:
    t = np.linspace(0.0, 2.0 * np.pi, 96, endpoint=False)
    height = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -height], axis=1)


def _cross() -> NDArray[np.float64]:
    x = [0.32, 0.68, 0.68, 1.0, 1.0, 0.68, 0.68, 0.32, 0.32, 0.0, 0.0, 0.32]
    return np.stack([x, np.roll(x, 3)], axis=1)  # a quarter turn of the cross maps x to y


def _moon() -> NDArray[np.float64]:
    """A crescent open to the right: a wide arc of one circle closed by an arc of a smaller one."""
    tip = np.array([0.55, 0.835])  # on the unit circle; the inner circle passes through both tips
    centre = 0.62
    radius = float(np.hypot(tip[0] - centre, tip[1]))
    outer = np.linspace(np.arctan2(tip[1], tip[0]), 2 * np.pi - np.arctan2(tip[1], tip[0]), 64)
    half = np.arctan2(tip[1], tip[0] - centre)
    inner = np.linspace(2 * np.pi - half, half, 48)
    return np.concatenate(
        [
            np.stack([np.cos(outer), np.sin(outer)], axis=1),
            np.stack([centre + radius * np.cos(inner), radius * np.sin(inner)], axis=1),
        ]
    )


_OUTLINES = {
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "moon": _moon,
}


def _scaled_box(size: tuple[int, int], scale: float) -> tuple[float, float, float, float]:
    width, height = size
    left, top = 0.5 * (1 - scale) * (width - 1), 0.5 * (1 - scale) * (height - 1)
    return left, top, width - 1 - left, height - 1 - top


def _reduced(mask: Image.Image) -> Image.Image:
    return mask.reduce(OVERSAMPLING)
