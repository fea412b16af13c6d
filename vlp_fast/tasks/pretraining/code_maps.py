"""The visual dictionary in report.png: which code each cell has, and what the codes look like."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.examples import Example
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.held_out import Runtime
from vlp_fast.tasks.images import batch_images

CODES = 20
"""Codes with a colour of their own; rarer ones are grey."""
PATCHES = 3
"""Cells shown of each of them, of different pictures where there are as many."""
SIDE = 24
"""Pixels a patch is drawn with."""
GAP = 3
"""White pixels around a patch."""


class CodedPicture(NamedTuple):
    """Pixels (3, H, W) in [0, 1] and the code of each cell (h, w)."""

    pixels: Tensor
    codes: Tensor


def coded_pictures(
    model: Soho, runtime: Runtime, examples: list[Example], pixels: list[Tensor]
) -> list[CodedPicture]:
    """Ask the trained model for the codes of held-out pictures; `pixels` are (H, W, 3) each."""
    device = runtime.device
    images, sizes, grid = batch_images(examples, model)
    with runtime.autocast():
        indices = model.embed_image(images.to(device), grid.to(device), sizes).indices.cpu()
    parts = indices.split([height * width for height, width in grid.sizes])
    return [
        CodedPicture(shown.permute(2, 0, 1), part.reshape(size))
        for shown, part, size in zip(pixels, parts, grid.sizes, strict=True)
    ]


def frequent_codes(pictures: list[CodedPicture]) -> list[int]:
    """The most frequent codes, which get a colour and a place in the legend."""
    codes, counts = torch.cat([p.codes.flatten() for p in pictures]).unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:CODES]
    return [int(code) for code in codes[order]]


def draw_code_maps(axes: Any, pictures: list[CodedPicture], coloured: list[int]) -> None:
    """The code of every cell, as a map of colours."""
    for axis, picture in zip(axes, pictures, strict=False):
        height, width = picture.codes.shape
        colours = [_colour(int(code), coloured) for code in picture.codes.flatten()]
        axis.imshow(torch.stack(colours).view(height, width, 3).numpy())
        axis.set_title(f"dictionary codes, {len(picture.codes.unique())} kinds", fontsize=9)
        axis.axis("off")


def draw_code_legend(axis: Any, pictures: list[CodedPicture], coloured: list[int]) -> None:
    """What the coloured codes look like: their colour, and below it cells that have them."""
    columns = [_column(code, coloured, pictures) for code in coloured]
    axis.imshow(torch.cat(columns, dim=2).permute(1, 2, 0).numpy())
    axis.set_title("colours of the maps, and cells of this code in other pictures", fontsize=9)
    axis.axis("off")


def _colour(code: int, coloured: list[int]) -> Tensor:
    """(3,) in [0, 1]."""
    from matplotlib import colormaps

    if code not in coloured:
        return torch.tensor([0.93, 0.93, 0.93])
    return torch.tensor(colormaps["tab20"](coloured.index(code))[:3])


def _column(code: int, coloured: list[int], pictures: list[CodedPicture]) -> Tensor:
    """The colour of a code above `PATCHES` patches, (3, height, width)."""
    swatch = _colour(code, coloured).view(3, 1, 1).expand(3, SIDE, SIDE)
    patches = patches_of(code, pictures, PATCHES)
    blank = torch.ones(3, SIDE, SIDE)
    tiles = [swatch, *patches, *[blank] * (PATCHES - len(patches))]
    return torch.cat([functional.pad(tile, (GAP,) * 4, value=1.0) for tile in tiles], dim=1)


def patches_of(code: int, pictures: list[CodedPicture], count: int) -> list[Tensor]:
    """What cells of a code show, (3, SIDE, SIDE) each: the first of every picture, then others.

    Args:
        code: the code.
        pictures: in whose cells it is looked for.
        count: patches at most.
    """
    found = []
    for number, picture in enumerate(pictures):
        for turn, (row, column) in enumerate((picture.codes == code).nonzero().tolist()):
            found.append((turn, number, row, column))
    return [_patch(pictures[number], *cell) for _, number, *cell in sorted(found)[:count]]


def _patch(picture: CodedPicture, row: int, column: int) -> Tensor:
    """The pixels of a cell; cells cover the picture evenly."""
    down, across = (
        slice(at * size // cells, max((at + 1) * size // cells, at * size // cells + 1))
        for at, size, cells in zip(
            (row, column), picture.pixels.shape[1:], picture.codes.shape, strict=True
        )
    )
    cell = picture.pixels[None, :, down, across]
    return functional.interpolate(cell, size=(SIDE, SIDE), mode="nearest")[0]
