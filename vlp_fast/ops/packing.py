"""Packed batches: which rows of one `(T, D)` tensor belong to which sequence and grid cell.

A sequence is `[text tokens | valid grid cells]`, a batch is its sequences end to end, and nothing
behind the CNN ever sees a padded place. Everything is made from host integers, so neither building
an index nor using one waits for a device. S sequences, T rows, B images, P valid cells.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from vlp_fast.ops.grid import Grid, check_rows, host_integers, integers, moved, owners, ranges


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


def make_packing(
    text_lengths: Sequence[int],
    image_of: Sequence[int],
    grid: Grid | None,
    *,
    chosen: Sequence[Sequence[int] | None] | None = None,
) -> Packing:
    """Pack sequences of text and, where `image_of` is not -1, the cells of an image; on the CPU.

    Args:
        text_lengths: tokens of each sequence, may be 0.
        image_of: image of `grid` that each sequence shows, or -1.
        grid: the images; `None` if there are none.
        chosen: of each sequence the cells of its image that it holds, host integers, ascending,
            row-major from 0; `None` for all of them.

    Raises:
        ValueError: the lengths disagree, an image does not exist, a sequence is empty, or a chosen
            cell does not exist or comes twice.
        TypeError: a number that is no integer.
    """
    text_lengths = integers("make_packing", "text_lengths", text_lengths)
    image_of = integers("make_packing", "image_of", image_of)
    sizes = grid.sizes if grid is not None else ()
    _check_sequences(text_lengths, image_of, len(sizes))
    areas = [h * w for h, w in sizes]
    grid_lengths = [areas[image] if image >= 0 else 0 for image in image_of]
    first_cell = [0, *accumulate(areas)]
    starts = host_integers([first_cell[max(image, 0)] for image in image_of])
    cells = ranges(starts, host_integers(grid_lengths))
    if chosen is not None and any(part is not None for part in chosen):
        indices = _chosen(chosen, grid_lengths)
        parts = zip(cells.split(grid_lengths), indices, strict=True)
        kept = [part if index is None else part[index] for part, index in parts]
        cells, grid_lengths = torch.cat([cells[:0], *kept]), [len(part) for part in kept]
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
        TypeError: a number that is no integer.
    """
    sequences = integers("select_sequences", "sequences", sequences)
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
    no_cells = torch.zeros(sum(grid_lengths), dtype=torch.int64, device="cpu")
    kept = _packing(text_lengths, grid_lengths, image_of, no_cells, None).to(device)
    rows = rows.to(device, non_blocking=True)
    places = packing.places.index_select(0, rows)
    return rows, dataclasses.replace(kept, grid_cells=cells, places=places)


def join_rows(text: Tensor, cells: Tensor, packing: Packing) -> Tensor:
    """Lay rows of text and rows of grid cells out as packed rows: (T, D), differentiable.

    Args:
        text: (sum of text_lengths, D), sequence by sequence; its dtype is the result's.
        cells: (sum of grid_lengths, D), what each of `grid_rows` shows.
        packing: the batch.

    Raises:
        ValueError: there are not as many rows as in the packing.
    """
    check_rows("join_rows (text)", text, sum(packing.text_lengths))
    check_rows("join_rows (cells)", cells, sum(packing.grid_lengths))
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
    check_rows("unpack", packed, packing.num_rows)
    shape = (packing.num_sequences, packing.max_length)
    flat = packed.new_full((shape[0] * shape[1], *packed.shape[1:]), fill)
    flat = flat.index_copy(0, _padded_places(packing, packing.max_length), packed)
    return flat.view(*shape, *packed.shape[1:])


def _packing(
    text_lengths: Sequence[int],
    grid_lengths: Sequence[int],
    image_of: Sequence[int],
    grid_cells: Tensor,
    grid_places: Tensor | None,
) -> Packing:
    text, cells = host_integers(text_lengths), host_integers(grid_lengths)
    lengths = text + cells
    ends = lengths.cumsum(0)
    starts = ends - lengths
    grid_rows = ranges(starts + text, cells)
    places = lengths.new_full((int(lengths.sum()), 2), -1, dtype=torch.int32)
    if grid_places is not None:
        places[grid_rows] = grid_places
    return Packing(
        text_lengths=tuple(text_lengths),
        grid_lengths=tuple(grid_lengths),
        image_of=tuple(image_of),
        cu_seqlens=torch.cat([ends.new_zeros(1), ends]).int(),
        text_rows=ranges(starts, text),
        grid_rows=grid_rows,
        grid_cells=grid_cells,
        text_positions=ranges(torch.zeros_like(text), text),
        sequence_of=owners(lengths),
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


def _chosen(chosen: Sequence[Sequence[int] | None], areas: Sequence[int]) -> list[Tensor | None]:
    """Which cells of its image each sequence holds, as an index; checked."""
    if len(chosen) != len(areas):
        raise ValueError(
            f"make_packing: received chosen cells of {len(chosen)} sequences, expected of "
            f"{len(areas)}, one for each"
        )
    found: list[Tensor | None] = []
    for sequence, (given, area) in enumerate(zip(chosen, areas, strict=True)):
        cells = None if given is None else integers("make_packing", "chosen", given)
        is_fine = cells is None or (
            bool(cells) and sorted(set(cells)) == list(cells) and 0 <= cells[0] <= cells[-1] < area
        )
        if not is_fine:
            raise ValueError(
                f"make_packing: received chosen cells {cells} of sequence {sequence}, expected "
                f"one or more of 0 to {area - 1}, ascending"
            )
        found.append(None if cells is None else host_integers(cells))
    return found


def _padded_places(packing: Packing, padded_length: int) -> Tensor:
    rows = torch.arange(packing.num_rows, device=packing.sequence_of.device)
    positions = rows - packing.first_rows[packing.sequence_of]
    return packing.sequence_of * padded_length + positions


def _kept_ranges(lengths: Sequence[int], sequences: Sequence[int]) -> Tensor:
    starts = [0, *accumulate(lengths)]
    return ranges(
        host_integers([starts[s] for s in sequences]),
        host_integers([lengths[s] for s in sequences]),
    )
