"""The search's own corners: tails of tiles, what is proved, how rows in doubt are shared out."""

from collections.abc import Callable
from typing import Any

import prepared_codes
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from vlp_fast.kernels import dictionary, launch, tiling

pytestmark = pytest.mark.skipif(not launch.IS_INTERPRETED, reason="tensors of the CPU")

# Rows and products: as they are, then centred.
DTYPES = [
    (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float16),
    (torch.float32, torch.float32),
    (torch.float32, torch.float16),
    (torch.float32, torch.bfloat16),
    (torch.float16, torch.bfloat16),
    (torch.bfloat16, torch.float16),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def brute_force(x: Tensor, codes: Tensor) -> Tensor:
    """Lowest index of the smallest squared distance, by differences in float64."""
    return (x.double()[:, None] - codes.double()).square().sum(2).argmin(1)


def search(x: Tensor, codes: Tensor, operand_dtype: torch.dtype) -> Tensor:
    return search_around(codes.float().mean(0), x, codes, operand_dtype)


def search_around(
    centre: Tensor, x: Tensor, codes: Tensor, operand_dtype: torch.dtype = torch.float32
) -> Tensor:
    """Products of differences from any centre, in any dtype."""
    operand, terms = prepared_codes.prepare_codes(codes, centre, operand_dtype)
    return dictionary.search(x, codes, None, -1, operand, terms, centre)


@pytest.fixture
def doubtful(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many rows the last search left in doubt."""
    seen: list[int] = []
    resolve = dictionary.resolve_kernel

    class Spy:
        def __getitem__(self, grid: object) -> Callable[..., None]:
            def launch_it(*args: Any, **options: Any) -> None:
                seen.append(int(args[7]))
                resolve[grid](*args, **options)

            return launch_it

    monkeypatch.setattr(dictionary, "resolve_kernel", Spy())
    return lambda: seen[-1]


@pytest.mark.parametrize("dtypes", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", [(33, 33, 33), (31, 63, 31), (1, 1, 1), (64, 32, 17)])
def test_tails_of_tiles(dtypes, sizes) -> None:
    rows, num_codes, width = sizes
    x, codes = draw(rows, width).to(dtypes[0]), 2 + draw(num_codes, width, seed=1)
    assert torch.equal(search(x, codes, dtypes[1]), brute_force(x, codes))


@pytest.mark.parametrize("dtypes", DTYPES, ids=str)
def test_rows_near_their_code_are_proved(dtypes, doubtful) -> None:
    codes = draw(60, 24, seed=1)
    owner = torch.arange(70) % 60
    x = (codes[owner] + 0.01 * draw(70, 24)).to(dtypes[0])
    assert torch.equal(search(x, codes, dtypes[1]), owner)
    assert doubtful() == 0


def test_products_tell_most_rows_apart(doubtful) -> None:
    x, codes = draw(300, 64), draw(100, 64, seed=1)
    assert torch.equal(search(x, codes, torch.float16), brute_force(x, codes))
    assert 0 < doubtful() < 60


def test_more_rows_in_doubt_than_programs_at_once(doubtful) -> None:
    # 3 programs of 16 rows: three rounds and a tail. The twin of the last code comes first.
    codes = draw(40, 8, seed=1)
    codes[0] = codes[39]
    x = codes[39] + 0.001 * draw(151, 8)
    assert search(x, codes, torch.float16).tolist() == [0] * 151
    assert doubtful() == 151


def test_rows_left_out_are_never_in_doubt(doubtful) -> None:
    x, codes = draw(50, 8), torch.zeros(40, 8)
    x[::2] = torch.nan
    assert search(x, codes, torch.float16).tolist() == [-1, 0] * 25
    assert doubtful() == 25


@pytest.mark.parametrize("dtypes", [DTYPES[1], DTYPES[3]], ids=str)
def test_the_best_of_the_candidates_may_lie_in_any_tile(dtypes) -> None:
    # All codes within the rounding of one point; the nearest moves through every place.
    base = 8 * draw(1, 12)
    codes = base + 1e-3 * draw(70, 12, seed=1)
    x = (codes + 1e-5 * draw(70, 12, seed=2)).to(dtypes[0])
    assert torch.equal(search(x, codes, dtypes[1]), brute_force(x, codes))


def test_rounding_of_the_bias_counts() -> None:
    # Biases around a far centre are about 9e6, where float32 counts in ones.
    codes, x = draw(50, 8), draw(90, 8, seed=1)
    centre = torch.full((8,), 1500.0)
    assert torch.equal(search_around(centre, x, codes), brute_force(x, codes))


def test_products_that_vanish_in_float32() -> None:
    x, codes = 1e-20 * draw(60, 8), 1e-25 * draw(50, 8, seed=1)
    centre = torch.zeros(8)
    assert torch.equal(search_around(centre, x, codes), brute_force(x, codes))


@pytest.mark.parametrize("columns", [(0, 1), (1, 0)])
def test_the_nearest_code_overflows_on_the_way(columns) -> None:
    # x.d' is -3.45e38 + 1.2e38 for the nearest code: minus infinity, if the sum begins so.
    centre = torch.tensor([1.46e19, 0.0])[list(columns)]
    shifted = torch.tensor([[-1e19, -1.4e19], [-2.3e19, 1.2e19]])[:, list(columns)]
    x, codes = torch.tensor([[1.5e19, 1e19]])[:, list(columns)], centre + shifted
    assert brute_force(x, codes).tolist() == [1]
    assert search_around(centre, x, codes).tolist() == [1]


@pytest.mark.parametrize("codes_dtype", [torch.bfloat16, torch.float16])
def test_codes_of_half_precision(codes_dtype) -> None:
    x, codes = draw(60, 20), draw(40, 20, seed=1).to(codes_dtype)
    assert torch.equal(search(x, codes, torch.float16), brute_force(x, codes))


def test_64_bit_offsets_of_rows() -> None:
    # Virtual memory: only the pages of three rows are touched.
    x = torch.empty(2**31 + 8, dtype=torch.float16).as_strided((3, 8), (2**30, 1))
    x.copy_(draw(3, 8))
    codes = draw(20, 8, seed=1)
    assert torch.equal(search(x, codes, torch.float16), brute_force(x, codes))


def test_every_gpu_has_tiles() -> None:
    for architecture in (80, 86, 89, 90, 100, 103, 110, 120, 121):
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            tile = tiling.search_tile(architecture, dtype, True)
            assert tile.rows >= 64 and tile.depth * dtype.itemsize == 128
    assert tiling.search_tile(90, torch.float16, False).registers == 128
