"""A sheet of pictures in the order that a model ranks them, with scores; or one with its texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vlp_fast.data.transforms import resize, resized, shown
from vlp_fast.tasks.titles import wrapped

SIDE = 320
"""Pixels of the longer side of a picture on the sheet."""
LINE = 34
"""Characters below a picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What was found for one query.

    Attributes:
        query: the text.
        pictures: (3, H, W) uint8 each, the best first.
        captions: what stands below each.
    """

    query: str
    pictures: Sequence[Tensor]
    captions: Sequence[str]


def draw_found(figure: Any, found: Sequence[Found]) -> None:
    """Draw a row of pictures for each query on a matplotlib figure, or a SubFigure."""
    columns = max(len(one.pictures) for one in found)
    rows = figure.subfigures(len(found), 1, squeeze=False)[:, 0]
    for row, one in zip(rows, found, strict=True):
        row.suptitle(wrapped(one.query, LINE * columns), fontsize=12)
        axes = row.subplots(1, columns, squeeze=False)[0]
        for axis in axes:
            axis.axis("off")
        for axis, picture, caption in zip(axes, one.pictures, one.captions, strict=False):
            axis.imshow(shown(_small(picture)).numpy())
            axis.set_title(wrapped(caption, LINE), fontsize=9, y=-0.04, va="top")


def draw_texts(figure: Any, picture: Tensor, lines: Sequence[str]) -> None:
    """Draw a picture with the texts that were found for it, the best first."""
    left, right = figure.subplots(1, 2, squeeze=False)[0]
    left.imshow(shown(_small(picture)).numpy())
    text = "\n\n".join(wrapped(line, 2 * LINE) for line in lines)
    right.text(0, 1, text, va="top", fontsize=10, transform=right.transAxes)
    for axis in (left, right):
        axis.axis("off")


def _small(picture: Tensor) -> Tensor:
    return resize(picture, resized((picture.size(1), picture.size(2)), None, SIDE))
