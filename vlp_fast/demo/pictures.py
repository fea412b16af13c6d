"""Results drawn on pictures: boxes with names, and the codes of a dictionary as a coloured map."""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

LONGER = 640
"""Pixels of the longer side, about what a page has room for."""
PAINTS = ("#d81b60", "#1565c0", "#2e7d32", "#e65100", "#6a1b9a", "#00695c", "#ad1457", "#4e342e")
"""Of boxes, in turn by name; white is read on each."""
GOLDEN = 0.618_034
"""Hues that far apart stay apart, however many there are."""
LEGIBLE = 48
"""Pixels of a cell from which on its code is written into it."""


def picture_of(pixels: Tensor) -> Image.Image:
    """A picture as large as the page shows it, from (3, H, W) uint8."""
    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    scale = LONGER / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def with_boxes(
    picture: Image.Image, boxes: np.ndarray, names: Sequence[str], scores: Sequence[float]
) -> Image.Image:
    """Draw boxes with names; the surest last, on top.

    Args:
        picture: of any size.
        boxes: (n, 4) x1, y1, x2, y2 as shares of width and height.
        names: of each box.
        scores: of each box, falling.
    """
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    paint_of = {name: PAINTS[n % len(PAINTS)] for n, name in enumerate(dict.fromkeys(names))}
    corners = (boxes * np.array(2 * picture.size)).round().tolist()
    for box, name, score in reversed(list(zip(corners, names, scores, strict=True))):
        left, top, right, bottom = box
        paint = paint_of[name]
        box = (left, top, max(left, right), max(top, bottom))
        pen.rectangle(box, outline=paint, width=5)
        _label(pen, f"{name} {score:.2f}", (left, top), paint, picture.size)
    return drawn


def with_codes(picture: Image.Image, codes: np.ndarray) -> Image.Image:
    """Lay the codes of (h, w) cells over a picture, each code in a colour of its own."""
    paints = np.array([[_paint(code) for code in row] for row in codes.tolist()], np.uint8)
    over = Image.fromarray(paints).resize(picture.size, Image.Resampling.NEAREST)
    drawn = Image.blend(ImageOps.grayscale(picture).convert("RGB"), over, 0.5)
    height, width = picture.height / codes.shape[0], picture.width / codes.shape[1]
    if min(height, width) >= LEGIBLE:
        pen = ImageDraw.Draw(drawn)
        for (y, x), code in np.ndenumerate(codes):
            middle = ((x + 0.5) * width, (y + 0.5) * height)
            pen.text(middle, str(code), "white", _font(), "mm", stroke_width=2, stroke_fill="black")
    return drawn


def data_url(picture: Image.Image) -> str:
    """A picture inside a page."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _label(
    pen: ImageDraw.ImageDraw, text: str, corner: Sequence[float], paint: str, size: tuple[int, int]
) -> None:
    """A name above a box, moved into the picture where it would leave it."""
    left, top, right, bottom = pen.textbbox((0, 0), text, _font())
    width, height = right - left + 12, bottom - top + 10
    x = max(0, min(corner[0], size[0] - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((x, y, x + width, y + height), fill=paint)
    pen.text((x + 6 - left, y + 5 - top), text, "white", _font())


def _paint(code: int) -> tuple[int, int, int]:
    value = 0.95 if code % 2 else 0.7
    red, green, blue = colorsys.hsv_to_rgb(code * GOLDEN % 1, 0.75, value)
    return round(255 * red), round(255 * green), round(255 * blue)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own."""
    return ImageFont.load_default(26)
