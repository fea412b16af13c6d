"""Sine positions against DETR's formula cell by cell, text embeddings against BERT's sum."""

import math

import pytest
import torch

from vlp_fast.layers import projections
from vlp_fast.layers.attention import GridAttention
from vlp_fast.layers.embeddings import SinePosition, TextEmbeddings
from vlp_fast.ops.grid import Grid, make_grid
from vlp_fast.ops.packing import make_packing


def expected_position(index: int, size: int, features: int, temperature: float) -> list[float]:
    angle = (index + 1) / (size + 1e-6) * 2 * math.pi
    values = []
    for feature in range(features):
        # DETR's exponent: two neighbours share one frequency, sine first.
        phase = angle / temperature ** (2 * (feature // 2) / features)
        values.append(math.sin(phase) if feature % 2 == 0 else math.cos(phase))
    return values


def test_sine_of_every_cell() -> None:
    sizes = [(3, 2), (1, 4)]
    got = SinePosition(16, temperature=50.0)(make_grid(sizes, (5, 6)))
    expected = [
        expected_position(row, height, 8, 50.0) + expected_position(column, width, 8, 50.0)
        for height, width in sizes
        for row in range(height)
        for column in range(width)
    ]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, torch.tensor(expected))


def test_sine_on_packed_rows_is_that_of_the_cells_and_none_on_text() -> None:
    grid = make_grid([(3, 2), (1, 4)], (5, 6))
    packing = make_packing([2, 1, 3], [1, 0, -1], grid)
    sine = SinePosition(16)
    rows = sine.on_rows(grid, packing).rows()
    assert torch.equal(rows[packing.grid_rows], sine(grid)[packing.grid_cells])
    assert not rows[packing.text_rows].any()


@pytest.mark.parametrize("grid", [None, make_grid([], (4, 4))], ids=["no grid", "empty grid"])
def test_a_batch_of_text_has_no_positions(
    grid: Grid | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No kernel is asked to add, or to sum up, rows of a table that has none.
    monkeypatch.delattr(projections, "linear_with_positions")
    packing = make_packing([2, 3], [-1, -1], grid)
    positions = SinePosition(16).on_rows(grid, packing)
    assert positions.table.shape == (0, 16)
    assert torch.equal(positions.rows(), torch.zeros(5, 16))
    layer, x = GridAttention(16, 4), torch.randn(5, 16, requires_grad=True)
    got, expected = layer(x, packing, positions=positions), layer(x, packing)
    torch.testing.assert_close(got, expected)
    leaves = [x, *layer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(got.square().sum(), leaves),
        torch.autograd.grad(expected.square().sum(), leaves),
    )


def test_sine_depends_on_the_image_not_on_its_batch() -> None:
    sine = SinePosition(8)
    together = sine(make_grid([(2, 3), (4, 4)], (4, 4)))
    torch.testing.assert_close(together[:6], sine(make_grid([(2, 3)], (2, 3))))


@pytest.mark.parametrize("width", [0, 6, 258])
def test_sine_needs_a_multiple_of_four(width: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        SinePosition(width)


def test_text_embeddings_are_the_normed_sum() -> None:
    torch.manual_seed(0)
    layer = TextEmbeddings(11, 8, 5, dropout=0.0).double()
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    ids, positions = torch.tensor([3, 10, 3, 0]), torch.tensor([0, 1, 0, 4])
    segments = torch.tensor([0, 0, 1, 0])

    got = layer(ids, positions, segments)
    for row, (word, position, segment) in enumerate(zip(ids, positions, segments, strict=True)):
        summed = (
            layer.word_embeddings.weight[word]
            + layer.position_embeddings.weight[position]
            + layer.token_type_embeddings.weight[segment]
        )
        centred = summed - summed.mean()
        normed = centred / (centred.square().mean() + 1e-12).sqrt()
        torch.testing.assert_close(got[row], normed * layer.norm.weight + layer.norm.bias)


def test_segment_zero_is_the_default() -> None:
    layer = TextEmbeddings(11, 8, 5, dropout=0.0)
    ids, positions = torch.tensor([1, 2]), torch.tensor([0, 1])
    expected = layer(ids, positions, torch.zeros_like(ids))
    torch.testing.assert_close(layer(ids, positions), expected)


def test_no_tokens_give_no_rows() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert TextEmbeddings(11, 8, 5)(nothing, nothing).shape == (0, 8)


def test_the_text_of_a_packing_counts_positions_from_each_start() -> None:
    layer = TextEmbeddings(11, 8, 5, dropout=0.0)
    packing = make_packing([3, 0, 2], [-1, 0, 0], make_grid([(1, 2)], (1, 2)))
    ids = torch.tensor([3, 10, 3, 0, 3])
    expected = layer(ids, torch.tensor([0, 1, 2, 0, 1]))
    assert torch.equal(layer.embed(ids, packing), expected)


def test_texts_that_do_not_fit_are_refused() -> None:
    layer = TextEmbeddings(11, 8, 5)
    ids = torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"a text of 6 tokens, .* 5, .*; truncate it"):
        layer.embed(ids, make_packing([6], [-1], None))
    with pytest.raises(
        ValueError, match=r"ids of shape \(6,\), expected \(7,\), as in the packing"
    ):
        layer.embed(ids, make_packing([3, 4], [-1, -1], None))


def test_tables_start_with_the_deviation_of_bert() -> None:
    layer = TextEmbeddings(1000, 64, 512)
    assert layer.max_positions == 512
    for table in (layer.word_embeddings, layer.position_embeddings):
        assert table.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_dropout_is_behind_the_norm() -> None:
    layer = TextEmbeddings(11, 64, 5, dropout=0.5)
    ids = torch.zeros(50, dtype=torch.int64)
    dropped = layer(ids, ids) == 0
    assert 0.4 < dropped.float().mean() < 0.6
    assert not (layer.eval()(ids, ids) == 0).any()
