"""Packed batches: which rows of one `(T, D)` tensor belong to which sequence and grid cell.

A sequence is `[text tokens | valid grid cells]`, a batch is its sequences end to end, and nothing
behind the CNN ever sees a padded place. Everything is made from host integers, so neither building
an index nor using one waits for a device. S sequences, T rows, B images, P valid cells.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
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
    heights: Tensor
    """(P,) int64, H_i of the cell's own image."""
    widths: Tensor
    """(P,) int64, W_i of the cell's own image."""
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Packing:
    """Sequences `[text | grid cells]` end to end in the rows of one tensor."""

    text_lengths: tuple[int, ...]
    """Rows of text of each sequence."""
    grid_lengths: tuple[int, ...]
    """Rows of grid cells of each sequence."""
    image_of: tuple[int, ...]
    """Image that each sequence shows; several may show one, -1 shows none."""
    cu_seqlens: Tensor
    """(S + 1,) int32, first row of each sequence, then T."""
    text_rows: Tensor
    """(sum of text_lengths,) int64, rows of the text tokens, sequence by sequence."""
    grid_rows: Tensor
    """(sum of grid_lengths,) int64, rows of the grid cells, sequence by sequence."""
    grid_cells: Tensor
    """(sum of grid_lengths,) int64, which cell of the `Grid` each of `grid_rows` shows."""
    text_positions: Tensor
    """(sum of text_lengths,) int64, place of each token in its own text, from 0."""
    sequence_of: Tensor
    """(T,) int64."""
    places: Tensor
    """(T, 2) int32, `Grid.places` of each row; -1 on rows of text."""
    longest_first: Tensor
    """(S,) int32, sequences by falling length: the order in which a GPU does best to begin them."""
    max_length: int
    """Rows of the longest sequence, 0 if there is none."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """Rows of each sequence, text and grid together."""
        return tuple(t + g for t, g in zip(self.text_lengths, self.grid_lengths, strict=True))

    @property
    def starts(self) -> tuple[int, ...]:
        """First row of each sequence, on the host; `first_rows` is the same on the device."""
        return tuple(accumulate(self.lengths, initial=0))[:-1]

    @property
    def num_sequences(self) -> int:
        """S, the sequences of the batch."""
        return len(self.text_lengths)

    @property
    def num_rows(self) -> int:
        """T, the rows of all sequences."""
        return sum(self.text_lengths) + sum(self.grid_lengths)

    @property
    def first_rows(self) -> Tensor:
        """(S,) int64, the first row of each sequence: [CLS] where there is text."""
        return self.cu_seqlens[:-1].long()

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Packing":
        """Copy the packing to another device; lengths stay on the host."""
        return moved(self, device, non_blocking)


def make_grid(sizes: Sequence[tuple[int, int]], map_size: tuple[int, int]) -> Grid:
    """Index the valid cells of padded maps, on the CPU.

    Args:
        sizes: valid `(H_i, W_i)` of each image in cells, in the top left corner of its map.
        map_size: padded `(H, W)` in cells.

    Raises:
        ValueError: a size is below 1 or above the map.
    """
    height, width = map_size
    for image, (valid_height, valid_width) in enumerate(sizes):
        if not (1 <= valid_height <= height and 1 <= valid_width <= width):
            raise ValueError(
                f"make_grid: received size {valid_height} x {valid_width} for image {image}, "
                f"expected 1 to {height} x 1 to {width}, the size of the map"
            )
    areas = _host([h * w for h, w in sizes])
    image_of = _owners(areas)
    heights, widths = (_host(side)[image_of] for side in _sides(sizes))
    cells = _ranges(torch.zeros_like(areas), areas)
    rows, columns = cells // widths, cells % widths
    first_of_height, row_places = _distinct_places(_sides(sizes)[0])
    first_of_width, column_places = _distinct_places(_sides(sizes)[1])
    places = [first_of_height[heights] + rows, len(row_places) + first_of_width[widths] + columns]
    return Grid(
        sizes=tuple((int(h), int(w)) for h, w in sizes),
        map_size=(int(height), int(width)),
        cell_index=(image_of * height + rows) * width + columns,
        image_of=image_of,
        rows=rows,
        columns=columns,
        heights=heights,
        widths=widths,
        places=torch.stack(places, dim=1).int(),
        offsets=torch.cat([row_places[:, 0], column_places[:, 0]]),
        extents=torch.cat([row_places[:, 1], column_places[:, 1]]),
        num_row_places=len(row_places),
    )


def make_packing(
    text_lengths: Sequence[int], image_of: Sequence[int], grid: Grid | None
) -> Packing:
    """Pack sequences of text and, where `image_of` is not -1, the cells of an image; on the CPU.

    Args:
        text_lengths: tokens of each sequence, may be 0.
        image_of: image of `grid` that each sequence shows, or -1.
        grid: the images; `None` if there are none.

    Raises:
        ValueError: the lengths disagree, an image does not exist, or a sequence is empty.
    """
    sizes = grid.sizes if grid is not None else ()
    _check_sequences(text_lengths, image_of, len(sizes))
    areas = [h * w for h, w in sizes]
    grid_lengths = [areas[image] if image >= 0 else 0 for image in image_of]
    first_cell = [0, *accumulate(areas)]
    cells = _ranges(_host([first_cell[max(image, 0)] for image in image_of]), _host(grid_lengths))
    places = None if grid is None else grid.places[cells]
    return _packing(text_lengths, grid_lengths, image_of, cells, places)


def uniform_packing(num_sequences: int, length: int) -> Packing:
    """Pack `num_sequences` sequences of `length` rows without a grid, such as object queries."""
    return make_packing([length] * num_sequences, [-1] * num_sequences, None)


def select_sequences(packing: Packing, sequences: Sequence[int]) -> tuple[Tensor, Packing]:
    """Keep some sequences, in the given order.

    Args:
        packing: the batch.
        sequences: host integers in `[0, S)`; one may occur more than once.

    Returns:
        `(rows, kept)`: int64 rows of `packing` that form the kept batch, and its `Packing`; both
        on the device of `packing`.

    Raises:
        ValueError: a sequence does not exist.
    """
    for sequence in sequences:
        if not 0 <= sequence < packing.num_sequences:
            raise ValueError(
                f"select_sequences: received sequence {sequence}, expected 0 to "
                f"{packing.num_sequences - 1}"
            )
    text_lengths = [packing.text_lengths[s] for s in sequences]
    grid_lengths = [packing.grid_lengths[s] for s in sequences]
    image_of = [packing.image_of[s] for s in sequences]
    rows = _kept_ranges(packing.lengths, sequences)
    device = packing.grid_cells.device
    cells = packing.grid_cells[
        _kept_ranges(packing.grid_lengths, sequences).to(device, non_blocking=True)
    ]
    no_cells = torch.zeros(sum(grid_lengths), dtype=torch.int64)
    kept = _packing(text_lengths, grid_lengths, image_of, no_cells, None).to(device)
    rows = rows.to(device, non_blocking=True)
    places = packing.places.index_select(0, rows)
    return rows, dataclasses.replace(kept, grid_cells=cells, places=places)


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
    _check_rows("scatter_cells", cells, grid.num_cells)
    height, width = grid.map_size
    flat = cells.new_full((grid.num_images * height * width, cells.shape[1]), fill)
    flat = flat.index_copy(0, grid.cell_index, cells)
    return flat.view(grid.num_images, height, width, -1).permute(0, 3, 1, 2)


def join_rows(text: Tensor, cells: Tensor, packing: Packing) -> Tensor:
    """Lay rows of text and rows of grid cells out as packed rows: (T, D), differentiable.

    Args:
        text: (sum of text_lengths, D), sequence by sequence; its dtype is the result's.
        cells: (sum of grid_lengths, D), what each of `grid_rows` shows.
        packing: the batch.

    Raises:
        ValueError: there are not as many rows as in the packing.
    """
    _check_rows("join_rows (text)", text, sum(packing.text_lengths))
    _check_rows("join_rows (cells)", cells, sum(packing.grid_lengths))
    rows = text.new_zeros(packing.num_rows, text.shape[1])
    rows = rows.index_copy(0, packing.text_rows, text)
    return rows.index_copy(0, packing.grid_rows, cells.to(rows.dtype))


def pack(padded: Tensor, packing: Packing) -> Tensor:
    """Drop the padding behind each sequence: `(S, L, ...)` to `(T, ...)`, differentiable.

    Raises:
        ValueError: S differs from the packing's, or L is shorter than its longest sequence.
    """
    if padded.shape[0] != packing.num_sequences or padded.shape[1] < packing.max_length:
        raise ValueError(
            f"pack: received shape {tuple(padded.shape)}, expected {packing.num_sequences} "
            f"sequences of at least {packing.max_length}"
        )
    return padded.flatten(0, 1).index_select(0, _padded_places(packing, padded.shape[1]))


def unpack(packed: Tensor, packing: Packing, fill: float = 0.0) -> Tensor:
    """Pad every sequence to the longest: `(T, ...)` to `(S, max_length, ...)`, `fill` behind it."""
    _check_rows("unpack", packed, packing.num_rows)
    shape = (packing.num_sequences, packing.max_length)
    flat = packed.new_full((shape[0] * shape[1], *packed.shape[1:]), fill)
    flat = flat.index_copy(0, _padded_places(packing, packing.max_length), packed)
    return flat.view(*shape, *packed.shape[1:])


def moved(record: RecordT, device: torch.device | str, non_blocking: bool) -> RecordT:
    """Copy a dataclass with its tensors on another device; to a CPU the copy is waited for."""
    non_blocking = non_blocking and torch.device(device).type != "cpu"
    tensors: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            tensors[field.name] = value.to(device, non_blocking=non_blocking)
    return dataclasses.replace(record, **tensors)


def _packing(
    text_lengths: Sequence[int],
    grid_lengths: Sequence[int],
    image_of: Sequence[int],
    grid_cells: Tensor,
    grid_places: Tensor | None,
) -> Packing:
    text, cells = _host(text_lengths), _host(grid_lengths)
    lengths = text + cells
    ends = lengths.cumsum(0)
    starts = ends - lengths
    grid_rows = _ranges(starts + text, cells)
    places = torch.full((int(lengths.sum()), 2), -1, dtype=torch.int32)
    if grid_places is not None:
        places[grid_rows] = grid_places
    return Packing(
        text_lengths=tuple(int(n) for n in text_lengths),
        grid_lengths=tuple(int(n) for n in grid_lengths),
        image_of=tuple(int(n) for n in image_of),
        cu_seqlens=torch.cat([ends.new_zeros(1), ends]).int(),
        text_rows=_ranges(starts, text),
        grid_rows=grid_rows,
        grid_cells=grid_cells,
        text_positions=_ranges(torch.zeros_like(text), text),
        sequence_of=_owners(lengths),
        places=places,
        longest_first=lengths.argsort(descending=True, stable=True).int(),
        max_length=int(lengths.max()) if len(lengths) else 0,
    )


def _check_sequences(text_lengths: Sequence[int], image_of: Sequence[int], num_images: int) -> None:
    if len(text_lengths) != len(image_of):
        raise ValueError(
            f"make_packing: received {len(text_lengths)} text lengths and {len(image_of)} images, "
            "expected one of each for a sequence"
        )
    for sequence, (length, image) in enumerate(zip(text_lengths, image_of, strict=True)):
        if not -1 <= image < num_images:
            raise ValueError(
                f"make_packing: received image {image} for sequence {sequence}, expected -1 (none) "
                f"to {num_images - 1}"
            )
        if length < 0 or (length == 0 and image < 0):
            raise ValueError(
                f"make_packing: received {length} tokens and image {image} for sequence "
                f"{sequence}, expected at least one token or an image"
            )


def _check_rows(function: str, tensor: Tensor, num_rows: int) -> None:
    if tensor.shape[0] != num_rows:
        raise ValueError(f"{function}: received {tensor.shape[0]} rows, expected {num_rows}")


def _padded_places(packing: Packing, padded_length: int) -> Tensor:
    rows = torch.arange(packing.num_rows, device=packing.sequence_of.device)
    positions = rows - packing.first_rows[packing.sequence_of]
    return packing.sequence_of * padded_length + positions


def _distinct_places(sides: Sequence[int]) -> tuple[Tensor, Tensor]:
    """List the places on axes of these lengths once: (place, length of the axis).

    Returns:
        `(first, places)`: where the places of a length begin, at the index of that length, and the
        (R, 2) places.
    """
    lengths = _host(sorted(set(sides)))
    places = torch.stack(
        [_ranges(torch.zeros_like(lengths), lengths), lengths[_owners(lengths)]], 1
    )
    first = torch.zeros(max(sides, default=0) + 1, dtype=torch.int64)
    first[lengths] = lengths.cumsum(0) - lengths
    return first, places


def _sides(sizes: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [height for height, _ in sizes], [width for _, width in sizes]


def _host(values: Sequence[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)


def _owners(lengths: Tensor) -> Tensor:
    return torch.arange(len(lengths)).repeat_interleave(lengths)


def _ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """Concatenate `arange(start, start + length)` over all pairs."""
    offsets = starts - (lengths.cumsum(0) - lengths)
    return torch.arange(int(lengths.sum())) + offsets.repeat_interleave(lengths)


def _kept_ranges(lengths: Sequence[int], sequences: Sequence[int]) -> Tensor:
    starts = [0, *accumulate(lengths)]
    return _ranges(_host([starts[s] for s in sequences]), _host([lengths[s] for s in sequences]))
