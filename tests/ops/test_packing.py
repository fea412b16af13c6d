"""Grids and packings against loops over host integers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp_fast import ops
from vlp_fast.ops.packing import join_rows

SIZES = [(2, 3), (1, 1), (3, 2)]


@pytest.fixture
def grid() -> ops.Grid:
    return ops.make_grid(SIZES, (3, 4))


def test_grid_lists_cells_row_by_row(grid) -> None:
    cells = [(b, r, c) for b, (h, w) in enumerate(SIZES) for r in range(h) for c in range(w)]
    assert grid.num_cells == len(cells) == 13
    assert grid.num_images == 3
    assert grid.image_of.tolist() == [b for b, _, _ in cells]
    assert grid.rows.tolist() == [r for _, r, _ in cells]
    assert grid.columns.tolist() == [c for _, _, c in cells]
    assert grid.cell_index.tolist() == [(b * 3 + r) * 4 + c for b, r, c in cells]


def test_cells_find_their_row_and_column_among_the_distinct_places(grid) -> None:
    axes = list(zip(grid.offsets.tolist(), grid.extents.tolist(), strict=True))
    of_rows, of_columns = axes[: grid.num_row_places], axes[grid.num_row_places :]
    assert (
        sorted(set(of_rows)) == sorted(of_rows) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    )
    assert sorted(set(of_columns)) == sorted(of_columns)
    assert len(of_columns) == 1 + 2 + 3
    rows, columns = grid.places.unbind(1)
    heights, widths = torch.tensor(SIZES)[grid.image_of].unbind(1)
    assert grid.places.dtype == torch.int32
    assert torch.equal(grid.offsets[rows], grid.rows)
    assert torch.equal(grid.extents[rows], heights)
    assert torch.equal(grid.offsets[columns], grid.columns)
    assert torch.equal(grid.extents[columns], widths)
    assert (rows < grid.num_row_places).all() and (columns >= grid.num_row_places).all()


def test_gather_and_scatter_are_inverse_and_differentiable(grid) -> None:
    maps = torch.randn(3, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    cells = ops.gather_cells(maps, grid)
    assert torch.equal(cells[7], maps[2, :, 0, 0])
    assert torch.equal(cells[5], maps[0, :, 1, 2])
    back = ops.scatter_cells(cells, grid, fill=-7.0)
    assert torch.equal(back[1, :, 0, 0], maps[1, :, 0, 0])
    assert (back[1, :, 1:] == -7).all()
    assert torch.equal(ops.gather_cells(back, grid), cells)
    assert torch.autograd.gradcheck(lambda m: ops.gather_cells(m, grid), maps)
    leaf = cells.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: ops.scatter_cells(c, grid), leaf)


def test_channels_last_maps_give_the_same_cells(grid) -> None:
    maps = torch.randn(3, 5, 3, 4)
    last = maps.to(memory_format=torch.channels_last)
    assert torch.equal(ops.gather_cells(maps, grid), ops.gather_cells(last, grid))


def test_packing_lists_rows_sequence_by_sequence(grid) -> None:
    packing = ops.make_packing([2, 0, 3, 4], [2, 0, -1, 2], grid)
    assert packing.lengths == (8, 6, 3, 10)
    assert packing.grid_lengths == (6, 6, 0, 6)
    assert packing.num_rows == 27
    assert packing.max_length == 10
    assert packing.cu_seqlens.dtype == torch.int32
    assert packing.cu_seqlens.tolist() == [0, 8, 14, 17, 27]
    assert packing.first_rows.tolist() == [0, 8, 14, 17]
    assert packing.starts == (0, 8, 14, 17)
    assert packing.longest_first.tolist() == [3, 0, 1, 2]
    assert packing.longest_first.dtype == torch.int32
    assert torch.equal(packing.places[packing.grid_rows], grid.places[packing.grid_cells])
    assert (packing.places[packing.text_rows] == -1).all()
    assert packing.text_rows.tolist() == [0, 1, 14, 15, 16, 17, 18, 19, 20]
    assert packing.text_positions.tolist() == [0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert packing.grid_rows.tolist() == [*range(2, 14), *range(21, 27)]
    assert packing.grid_cells.tolist() == [*range(7, 13), *range(6), *range(7, 13)]
    assert packing.sequence_of.tolist() == [0] * 8 + [1] * 6 + [2] * 3 + [3] * 10


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_select_is_the_packing_made_of_the_kept_sequences(data) -> None:
    grid = ops.make_grid(SIZES, (3, 4))
    count = data.draw(st.integers(1, 6))
    images = [data.draw(st.integers(-1, 2)) for _ in range(count)]
    texts = [data.draw(st.integers(1 if image < 0 else 0, 5)) for image in images]
    chosen = data.draw(st.lists(st.integers(0, count - 1), max_size=8))
    packing = ops.make_packing(texts, images, grid)
    rows, kept = ops.select_sequences(packing, chosen)
    expected = ops.make_packing([texts[s] for s in chosen], [images[s] for s in chosen], grid)
    for name in ("text_lengths", "grid_lengths", "image_of", "lengths", "num_rows"):
        assert getattr(kept, name) == getattr(expected, name)
    for name in (
        "cu_seqlens",
        "text_rows",
        "grid_rows",
        "grid_cells",
        "text_positions",
        "sequence_of",
        "places",
    ):
        assert torch.equal(getattr(kept, name), getattr(expected, name)), name
    assert kept.starts == tuple(kept.first_rows.tolist())
    starts = packing.cu_seqlens.tolist()
    assert rows.tolist() == [r for s in chosen for r in range(starts[s], starts[s + 1])]
    assert kept.grid_cells.dtype == rows.dtype == torch.int64


def test_a_sequence_may_hold_some_cells_of_its_image(grid) -> None:
    """As the packing of all, without the rows of the others; no cells at all is no choice."""
    texts, images = [2, 0, 3, 1], [2, 0, -1, 2]
    chosen = [[1, 4], None, None, [0, 2, 5]]
    some = ops.make_packing(texts, images, grid, chosen=chosen)
    every = ops.make_packing(texts, images, grid)
    assert some.grid_lengths == (2, 6, 0, 3)
    assert some.grid_cells.tolist() == [8, 11, *range(6), 7, 9, 12]
    assert some.grid_rows.tolist() == [2, 3, *range(4, 10), 14, 15, 16]
    assert some.text_rows.tolist() == [0, 1, 10, 11, 12, 13]
    assert torch.equal(some.places[some.grid_rows], grid.places[some.grid_cells])
    assert (some.places[some.text_rows] == -1).all()
    assert some.max_length == 6
    assert some.lengths == (4, 6, 3, 4)
    none = ops.make_packing(texts, images, grid, chosen=[None] * 4)
    assert torch.equal(none.grid_cells, every.grid_cells)
    rows, kept = ops.select_sequences(some, [3, 0])
    assert kept.grid_cells.tolist() == [7, 9, 12, 8, 11]
    assert rows.tolist() == [13, 14, 15, 16, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([[0]], "chosen cells of 1 sequences, expected of 2"),
        ([[6], None], r"chosen cells \(6,\) of sequence 0, expected one or more of 0 to 5"),
        ([[-1], None], "expected one or more of 0 to 5, ascending"),
        ([[1, 1], None], "expected one or more of 0 to 5, ascending"),
        ([[2, 1], None], "expected one or more of 0 to 5, ascending"),
        ([[], None], "expected one or more of 0 to 5, ascending"),
        ([None, [0]], "of sequence 1, expected one or more of 0 to -1"),
    ],
)
def test_cells_that_cannot_be_chosen(grid, chosen, said) -> None:
    with pytest.raises(ValueError, match=said):
        ops.make_packing([1, 1], [0, -1], grid, chosen=chosen)


def test_pack_and_unpack(grid) -> None:
    packing = ops.make_packing([2, 0, 3], [1, 0, -1], grid)
    packed = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    padded = ops.unpack(packed, packing, fill=9.0)
    assert padded.shape == (3, 6, 4)
    assert torch.equal(padded[0, :3], packed[:3])
    assert (padded[0, 3:] == 9).all()
    assert torch.equal(padded[2, :3], packed[9:])
    assert torch.equal(ops.pack(padded, packing), packed)
    longer = torch.cat([padded, padded.new_full((3, 2, 4), torch.nan)], 1)
    assert torch.equal(ops.pack(longer, packing), packed)
    assert torch.autograd.gradcheck(lambda x: ops.unpack(x, packing), packed)
    assert torch.equal(ops.pack(torch.arange(18).view(3, 6), packing)[9:], torch.arange(12, 15))


def test_joined_rows_lie_where_the_packing_says(grid) -> None:
    packing = ops.make_packing([2, 0, 1], [1, 0, 1], grid)
    text = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    cells = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)
    expected = torch.cat([text[:2], cells[:1], cells[1:7], text[2:], cells[7:]])
    assert torch.equal(join_rows(text, cells, packing), expected)
    assert torch.autograd.gradcheck(lambda t, c: join_rows(t, c, packing), (text, cells))
    assert join_rows(text.bfloat16(), cells.float(), packing).dtype == torch.bfloat16


def test_uniform_packing() -> None:
    packing = ops.uniform_packing(3, 4)
    assert packing.lengths == (4, 4, 4)
    assert packing.image_of == (-1, -1, -1)
    assert packing.text_positions.tolist() == [0, 1, 2, 3] * 3


def test_to_moves_every_tensor(grid) -> None:
    moved = grid.to("meta")
    assert {t.device.type for t in (moved.rows, moved.cell_index, moved.places)} == {"meta"}
    assert moved.sizes == grid.sizes
    packing = ops.make_packing([1], [0], grid).to("meta")
    assert packing.cu_seqlens.device.type == packing.grid_cells.device.type == "meta"


def test_wrong_input_is_refused(grid) -> None:
    with pytest.raises(ValueError, match="make_grid: received size 4 x 1 for image 0"):
        ops.make_grid([(4, 1)], (3, 4))
    with pytest.raises(ValueError, match="make_grid"):
        ops.make_grid([(0, 1)], (3, 4))
    with pytest.raises(ValueError, match="received image 3 for sequence 1"):
        ops.make_packing([1, 1], [0, 3], grid)
    with pytest.raises(ValueError, match="received image 0 for sequence 0"):
        ops.make_packing([1], [0], None)
    with pytest.raises(ValueError, match="at least one token or an image"):
        ops.make_packing([0], [-1], grid)
    with pytest.raises(ValueError, match="one of each"):
        ops.make_packing([1, 2], [0], grid)
    packing = ops.make_packing([2], [-1], None)
    with pytest.raises(ValueError, match="received sequence 1"):
        ops.select_sequences(packing, [1])
    with pytest.raises(ValueError, match="gather_cells"):
        ops.gather_cells(torch.zeros(3, 5, 4, 3), grid)
    with pytest.raises(ValueError, match="scatter_cells: received 12 rows"):
        ops.scatter_cells(torch.zeros(12, 2), grid)
    with pytest.raises(ValueError, match=r"join_rows \(text\): received 1 rows, expected 2"):
        join_rows(torch.zeros(1, 3), torch.zeros(0, 3), packing)
    with pytest.raises(ValueError, match=r"join_rows \(cells\): received 1 rows, expected 0"):
        join_rows(torch.zeros(2, 3), torch.zeros(1, 3), packing)
    with pytest.raises(ValueError, match="at least 2"):
        ops.pack(torch.zeros(1, 1, 3), packing)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_indices_are_on_the_host_whatever_the_default_device_is(device) -> None:
    with torch.device(device):
        grid = ops.make_grid(SIZES, (3, 4))
        packing = ops.make_packing([2, 0, 3, 4], [2, 0, -1, 2], grid)
        rows, kept = ops.select_sequences(packing, [2, 0])
        records = (grid, packing, kept, ops.uniform_packing(2, 3), ops.make_targets([]))
    tensors = [x for one in records for x in vars(one).values() if isinstance(x, torch.Tensor)]
    assert {x.device.type for x in [rows, *tensors]} == {"cpu"}
    assert rows.tolist() == [*range(14, 17), *range(8)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ops.make_packing([2.5], [-1], None), r"text_lengths \[2\.5\], expected integers"),
        (lambda: ops.make_packing([2.0], [-1], None), "make_packing: received text_lengths"),
        (lambda: ops.make_packing(torch.tensor([2.0]), [-1], None), "text_lengths"),
        (lambda: ops.make_packing([2], [-1.0], None), "make_packing: received image_of"),
        (
            lambda: ops.make_packing([2], [0], ops.make_grid([(2, 2)], (2, 2)), chosen=[[0.5]]),
            "make_packing: received chosen",
        ),
        (lambda: ops.make_grid([(2, 2.5)], (3, 4)), r"make_grid: received sizes \(2, 2\.5\)"),
        (lambda: ops.make_grid([(2, 2)], (3.0, 4)), "make_grid: received map_size"),
        (lambda: ops.select_sequences(ops.uniform_packing(2, 3), [0.0]), "select_sequences"),
    ],
)
def test_numbers_that_are_no_integers_are_not_rounded(make, said) -> None:
    with pytest.raises(TypeError, match=said):
        make()


def test_integers_may_be_of_any_kind(grid) -> None:
    sizes, lengths = torch.tensor(SIZES), torch.tensor([2, 0, 3])
    same = ops.make_grid(sizes, tuple(torch.tensor([3, 4])))
    assert (same.sizes, same.map_size) == (grid.sizes, grid.map_size)
    assert torch.equal(same.places, grid.places)
    packing = ops.make_packing(lengths.numpy(), lengths.numpy() % 2, same)
    assert packing.text_lengths == (2, 0, 3)
    assert {type(n) for n in (*packing.text_lengths, *packing.image_of)} == {int}
