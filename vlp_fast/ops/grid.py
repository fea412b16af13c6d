"""The valid cells of padded feature maps, and their places on the axes of their images.

Everything is made from host integers, so neither building an index nor using one waits for a
device. B images, P valid cells.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RecordT = TypeVar("RecordT", bound="DataclassInstance")


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The valid cells of a batch of padded feature maps: image after image, row-major."""

    sizes: tuple[tuple[int, int], ...]
    """Valid `(H_i, W_i)` of each image, in cells."""
    map_size: tuple[int, int]
    """Padded `(H, W)` of the maps, in cells."""
    cell_index: Tensor
    """(P,) int64, place of each cell in the flattened `(B * H * W)` map."""
    image_of: Tensor
    """(P,) int64."""
    rows: Tensor
    """(P,) int64, 0 at the top."""
    columns: Tensor
    """(P,) int64, 0 at the left."""
    places: Tensor
    """(P, 2) int32, the distinct places of the cell's row and of its column on their axes."""
    offsets: Tensor
    """(R,) int64, row or column of each distinct place: all rows of a height, and so on; rows of
    all heights first, then columns of all widths."""
    extents: Tensor
    """(R,) int64, the height or width, in cells, that the place is on."""
    num_row_places: int
    """How many of the distinct places are rows."""

    @property
    def num_cells(self) -> int:
        """P, the valid cells of all images."""
        return sum(height * width for height, width in self.sizes)

    @property
    def num_images(self) -> int:
        """B, the images of the batch."""
        return len(self.sizes)

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Grid":
        """Copy the grid to another device; sizes stay on the host."""
        return moved(self, device, non_blocking)


def make_grid(sizes: Sequence[tuple[int, int]], map_size: tuple[int, int]) -> Grid:
    """Index the valid cells of padded maps, on the CPU.

    Args:
        sizes: valid `(H_i, W_i)` of each image in cells, in the top left corner of its map.
        map_size: padded `(H, W)` in cells.

    Raises:
        ValueError: a size is below 1 or above the map.
        TypeError: a number that is no integer.
    """
    height, width = integers("make_grid", "map_size", map_size)
    sizes = tuple(_height_and_width(size) for size in sizes)
    for image, (valid_height, valid_width) in enumerate(sizes):
        if not (1 <= valid_height <= height and 1 <= valid_width <= width):
            raise ValueError(
                f"make_grid: received size {valid_height} x {valid_width} for image {image}, "
                f"expected 1 to {height} x 1 to {width}, the size of the map"
            )
    areas = host_integers([h * w for h, w in sizes])
    image_of = owners(areas)
    heights, widths = (host_integers(side)[image_of] for side in _sides(sizes))
    cells = ranges(torch.zeros_like(areas), areas)
    rows, columns = cells // widths, cells % widths
    first_of_height, row_places = _distinct_places(_sides(sizes)[0])
    first_of_width, column_places = _distinct_places(_sides(sizes)[1])
    places = [first_of_height[heights] + rows, len(row_places) + first_of_width[widths] + columns]
    return Grid(
        sizes=sizes,
        map_size=(height, width),
        cell_index=(image_of * height + rows) * width + columns,
        image_of=image_of,
        rows=rows,
        columns=columns,
        places=torch.stack(places, dim=1).int(),
        offsets=torch.cat([row_places[:, 0], column_places[:, 0]]),
        extents=torch.cat([row_places[:, 1], column_places[:, 1]]),
        num_row_places=len(row_places),
    )


def gather_cells(feature_map: Tensor, grid: Grid) -> Tensor:
    """Take the valid cells out of padded maps: `(B, C, H, W)` to `(P, C)`, differentiable.

    Raises:
        ValueError: the maps are not those of `grid`.
    """
    expected = (grid.num_images, *grid.map_size)
    if (feature_map.shape[0], *feature_map.shape[2:]) != expected:
        raise ValueError(
            f"gather_cells: received maps of shape {tuple(feature_map.shape)}, expected "
            f"({expected[0]}, C, {expected[1]}, {expected[2]}) as in the grid"
        )
    return feature_map.permute(0, 2, 3, 1).flatten(0, 2).index_select(0, grid.cell_index)


def scatter_cells(cells: Tensor, grid: Grid, fill: float = 0.0) -> Tensor:
    """Put packed cells back into padded maps: `(P, C)` to `(B, C, H, W)`, `fill` elsewhere."""
    check_rows("scatter_cells", cells, grid.num_cells)
    height, width = grid.map_size
    flat = cells.new_full((grid.num_images * height * width, cells.shape[1]), fill)
    flat = flat.index_copy(0, grid.cell_index, cells)
    return flat.view(grid.num_images, height, width, -1).permute(0, 3, 1, 2)


def moved(record: RecordT, device: torch.device | str, non_blocking: bool) -> RecordT:
    """Copy a dataclass with its tensors on another device; to a CPU the copy is waited for."""
    non_blocking = non_blocking and torch.device(device).type != "cpu"
    tensors: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            tensors[field.name] = value.to(device, non_blocking=non_blocking)
    return dataclasses.replace(record, **tensors)


def check_rows(function: str, tensor: Tensor, num_rows: int) -> None:
    """Refuse a tensor that does not have as many rows as its packing or grid."""
    if tensor.shape[0] != num_rows:
        raise ValueError(f"{function}: received {tensor.shape[0]} rows, expected {num_rows}")


def _distinct_places(sides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """List the places on axes of these lengths once: (place, length of the axis).

    Returns:
        `(first, places)`: where the places of a length begin, at the index of that length, and the
        (R, 2) places.
    """
    lengths = host_integers(sorted(set(sides)))
    places = torch.stack([ranges(torch.zeros_like(lengths), lengths), lengths[owners(lengths)]], 1)
    first = lengths.new_zeros(max(sides, default=0) + 1)
    first[lengths] = lengths.cumsum(0) - lengths
    return first, places


def _height_and_width(size: Sequence[int]) -> tuple[int, int]:
    height, width = integers("make_grid", "sizes", size)
    return height, width


def _sides(sizes: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [height for height, _ in sizes], [width for _, width in sizes]


def integers(function: str, name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return integers of any kind as Python's; what is no integer is not rounded.

    Raises:
        TypeError: so.
    """
    try:
        return tuple(map(index, values))
    except TypeError:
        raise TypeError(
            f"{function}: received {name} {values}, expected integers; convert them by int()"
        ) from None


def host_integers(values: Sequence[int]) -> Tensor:
    """Make an index on the CPU, whatever torch's default device is."""
    return torch.tensor(list(values), dtype=torch.int64, device="cpu")


def owners(lengths: Tensor) -> Tensor:
    """Number of the span that each element is of."""
    return torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)


def ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """Concatenate `arange(start, start + length)` over all pairs."""
    offsets = starts - (lengths.cumsum(0) - lengths)
    places = torch.arange(int(lengths.sum()), device=lengths.device)
    return places + offsets.repeat_interleave(lengths)
