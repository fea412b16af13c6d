"""The largest numbers of rows, ties included, against a stable sort."""

import pytest
import torch

from vlp_fast.layers.largest import CHUNK, largest

SIZES = [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 9 * CHUNK + 1, 1000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_values_and_places_are_those_of_a_stable_sort(size: int, dtype: torch.dtype) -> None:
    # Few values, so that nearly all are ties, then all different; some rows are -inf alone.
    generator = torch.Generator().manual_seed(size)
    few = torch.randint(4, (3, 5, size), generator=generator).to(dtype)
    many = torch.randn(3, 5, size, generator=generator).to(dtype)
    few[0, 0] = -torch.inf
    few[1, 1, : size // 2] = -torch.inf
    for x in (few, many, many.transpose(0, 1)):
        for count in {1, min(2, size), min(8, size), size}:
            values, indices = x.sort(descending=True, stable=True)
            found, places = largest(x, count)
            assert torch.equal(found, values[..., :count])
            assert torch.equal(places, indices[..., :count])


def test_ties_across_chunks_are_taken_from_the_first() -> None:
    x = torch.zeros(2, 10 * CHUNK)
    x[1, 5 * CHUNK + 3] = 1
    _, places = largest(x, 3)
    assert places.tolist() == [[0, 1, 2], [5 * CHUNK + 3, 0, 1]]


def test_a_last_chunk_that_is_short_gives_each_number_once() -> None:
    x = torch.zeros(1, 9 * CHUNK + 2)
    x[0, -1] = 1
    values, places = largest(x, 3)
    assert values.tolist() == [[1, 0, 0]]
    assert places.tolist() == [[9 * CHUNK + 1, 0, 1]]


def test_no_rows_have_none() -> None:
    values, places = largest(torch.zeros(0, 4, 1000), 3)
    assert values.shape == places.shape == (0, 4, 3)


@pytest.mark.parametrize("count", [0, 6])
def test_a_count_that_no_row_has_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"received count {count} for rows of 5 numbers"):
        largest(torch.zeros(2, 5), count)
