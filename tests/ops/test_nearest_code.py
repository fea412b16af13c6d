"""The search for the nearest code, on every backend, against brute force in float64."""

import prepared_codes
import pytest
import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.ops import dictionary_device, dictionary_host

pytestmark = pytest.mark.usefixtures("dictionary_backend")

HALF_DTYPES = [torch.bfloat16, torch.float16]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def brute_force(x: Tensor, codes: Tensor) -> Tensor:
    """Lowest index of the smallest squared distance, by differences in float64."""
    wide = codes.double()
    found = []
    for row in x.double():
        distances = (row - wide).square().sum(1).tolist()
        found.append(distances.index(min(distances)))
    return torch.tensor(found, dtype=torch.int64)


def check(x: Tensor, codes: Tensor) -> None:
    indices = ops.nearest_code(x, codes)
    assert indices.dtype == torch.int64
    assert torch.equal(indices, brute_force(x, codes))


# Of three sizes each, every two of them together in one case.
SIZES = [
    ((0, 1, 97)[i], (1, 2, 61)[j], (1, 7, 64)[(i + j) % 3]) for i in range(3) for j in range(3)
]


@pytest.mark.parametrize(("rows", "num_codes", "width"), SIZES)
def test_brute_force(rows, num_codes, width) -> None:
    check(draw(rows, width), draw(num_codes, width, seed=1))


@pytest.mark.parametrize("dtype", [*HALF_DTYPES, torch.float64])
@pytest.mark.parametrize("codes_dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_every_dtype_is_exact(dtype, codes_dtype) -> None:
    check(draw(150, 16, dtype=dtype), draw(40, 16, seed=1, dtype=codes_dtype))


@pytest.mark.parametrize("sizes", [(130, 129, 65), (63, 257, 33), (129, 64, 17)])
def test_one_beyond_every_tile(sizes) -> None:
    rows, num_codes, width = sizes
    check(draw(rows, width), draw(num_codes, width, seed=1))


@pytest.mark.parametrize("width", [3, 33, 130])
def test_lowest_index_of_duplicates(width) -> None:
    # Sizes that are no multiple of a tile: a product rounds equal columns differently there.
    distinct = draw(19, width, seed=2)
    x = draw(101, width, seed=3)
    indices = ops.nearest_code(x, distinct.repeat(7, 1))
    assert torch.equal(indices, brute_force(x, distinct))


def test_ties_between_different_codes() -> None:
    codes = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.5, 0.0], [-1.0, -1.0]])
    assert ops.nearest_code(x, codes).tolist() == [1, 1, 0, 2]


@pytest.mark.parametrize("dtype", [torch.float32, *HALF_DTYPES])
@pytest.mark.parametrize("width", [2, 5])
def test_points_of_a_lattice_are_full_of_ties(dtype, width) -> None:
    generator = torch.Generator().manual_seed(width)
    x = torch.randint(-2, 3, (120, width), generator=generator).to(dtype)
    codes = torch.randint(-2, 3, (70, width), generator=generator).float()
    check(x / 2, codes)


def test_all_codes_zero() -> None:
    assert ops.nearest_code(draw(5, 8), torch.zeros(9, 8)).tolist() == [0] * 5


def test_some_codes_zero() -> None:
    codes = draw(40, 8, seed=1)
    codes[3:30] = 0
    check(0.1 * draw(60, 8), codes)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF_DTYPES])
def test_near_ties_far_from_the_origin(dtype) -> None:
    # |x|^2 - 2 x.d cancels there: distances of about 1e-3 between codes at 1000.
    offset = 1000 + draw(1, 32, seed=4)
    codes = offset + 1e-3 * draw(50, 32, seed=5)
    check((offset + 1e-3 * draw(80, 32, seed=6)).to(dtype), codes)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 1e-7])
def test_pairs_of_codes_that_half_precision_confuses(gap) -> None:
    codes = draw(31, 24, seed=7)
    check(draw(90, 24, seed=8), torch.cat((codes + gap * draw(31, 24, seed=9), codes)))


@pytest.mark.parametrize("scale", [1e30, 1e18, 3e4, 1e-6, 1e-20, 1e-39])
def test_magnitudes_at_the_ends_of_float32(scale) -> None:
    x, codes = scale * draw(40, 12), scale * draw(33, 12, seed=1)
    assert x.isfinite().all()
    check(x, codes)


@pytest.mark.parametrize("scale", [60000.0, 300.0, 6e-8])
def test_products_that_overflow_or_vanish_in_float16(scale) -> None:
    x = (scale * draw(40, 48).clamp(-1, 1)).half()
    assert x.isfinite().all()
    check(x, scale * draw(33, 48, seed=1))
    check(x, 100 * scale * draw(33, 48, seed=1))


def test_one_row_or_code_of_another_magnitude_does_not_disturb() -> None:
    x, codes = draw(50, 16), draw(40, 16, seed=1)
    x[7], codes[11] = 1e6, -1e6
    check(x, codes)


def test_codes_on_a_line_and_rows_on_codes() -> None:
    codes = torch.linspace(-1, 1, 200)[:, None] * torch.ones(1, 9)
    check(codes[::3], codes)
    check(codes[::3] + 1e-5 * draw(67, 9), codes)


def test_one_code_takes_all() -> None:
    codes = 5 + draw(33, 10)
    codes[20] = 0
    assert ops.nearest_code(0.1 * draw(77, 10, seed=1), codes).tolist() == [20] * 77


@pytest.mark.parametrize("dtype", [torch.float32, *HALF_DTYPES])
@pytest.mark.parametrize("num_codes", [4, 63, 126, 127])
def test_rows_between_codes_that_are_far_away(num_codes, dtype) -> None:
    # All scores are far below those of zeros beyond the last code of a tile, be they one or many.
    directions = draw(num_codes, 12)
    codes = 30 * directions / directions.norm(dim=1, keepdim=True)
    check((0.5 * draw(40, 12, seed=1)).to(dtype), codes)


def test_strided_and_expanded_inputs() -> None:
    x = draw(20, 40).T[::2]
    codes = draw(20, 34, seed=1).T[::2]
    check(x, codes)
    check(draw(1, 20).expand(6, 20), codes)
    check(draw(30, 1).expand(30, 20), codes)
    check(draw(5, 20).flip(0), codes.flip(1))


def test_offsets_beyond_two_to_the_31() -> None:
    # Virtual memory: only the pages of three rows are touched.
    values = torch.empty(2**31 + 8, dtype=torch.bfloat16)
    x = values.as_strided((3, 8), (2**30, 1))
    x.copy_(draw(3, 8))
    check(x, draw(20, 8, seed=1))


@pytest.mark.parametrize("excluded", [0, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_left_out_do_not_disturb_the_others(excluded, dtype) -> None:
    x, codes = draw(40, 6, dtype=dtype), draw(5, 6, seed=1)
    expected = brute_force(x, codes)
    x[2], x[5, 3], x[9, 0] = torch.nan, torch.inf, -torch.inf
    valid = torch.ones(40, dtype=torch.bool)
    valid[7] = False
    x[30:], valid[30:] = torch.nan, False
    indices = ops.nearest_code(x, codes, valid, excluded=excluded)
    left_out = torch.zeros(40, dtype=torch.bool)
    left_out[[2, 5, 7, 9]] = left_out[30:] = True
    assert torch.equal(indices, torch.where(left_out, excluded, expected))


def test_every_other_row_is_invalid() -> None:
    x, codes = draw(50, 6), draw(5, 6, seed=1)
    valid = (torch.arange(100) % 3 == 0)[::2]
    indices = ops.nearest_code(x, codes, valid, excluded=-1)
    assert torch.equal(indices, torch.where(valid, brute_force(x, codes), -1))


def test_a_row_does_not_depend_on_its_batch_mates() -> None:
    x, codes = draw(150, 20), draw(61, 20, seed=1)
    whole = ops.nearest_code(x, codes)
    order = torch.randperm(150)
    assert torch.equal(ops.nearest_code(x[order], codes), whole[order])
    assert torch.equal(ops.nearest_code(x[40:41], codes), whole[40:41])


def test_autocast_does_not_round() -> None:
    x, codes = draw(300, 16), draw(200, 16, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        indices = ops.nearest_code(x, codes)
    assert torch.equal(indices, brute_force(x, codes))


def prepare(
    backend: str, codes: Tensor, centre: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Codes as a backend prepares them for products in a dtype."""
    if backend == "cuda":
        return dictionary_device.prepare_codes(codes, centre)
    if backend == "triton":
        from vlp_fast.kernels import dictionary_prepare as module
    else:
        module = dictionary_host if backend == "cpp" else prepared_codes
    return module.prepare_codes(codes, centre, dtype)


# Of backends that do not take products in any dtype.
PRODUCTS = {"cpp": [torch.float32, torch.bfloat16], "cuda": [torch.float16]}


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (37, 130)])
@pytest.mark.parametrize("scale", [1.0, 1e5, 1e-7])
def test_codes_are_rounded_and_bounds_hold(dictionary_backend, shape, scale) -> None:
    codes, centre = scale * draw(*shape), scale * draw(shape[1], seed=1)
    for dtype in PRODUCTS.get(dictionary_backend, [torch.float32, *HALF_DTYPES]):
        operand, terms = prepare(dictionary_backend, codes, centre, dtype)
        check_prepared(codes, centre, operand, terms, dtype)


def check_prepared(
    codes: Tensor, centre: Tensor, operand: Tensor, terms: Tensor, dtype: torch.dtype
) -> None:
    shifted, largest = codes.double() - centre.double(), torch.finfo(dtype).max
    assert torch.equal(operand, shifted.clamp(-largest, largest).float().to(dtype))
    assert (operand.dtype, terms.dtype, terms.shape) == (dtype, torch.float32, (4, len(codes)))
    residual = (shifted - operand.double()).norm(dim=1)
    assert (terms[2] >= residual).all()
    assert (terms[3] >= shifted.norm(dim=1)).all()
    exact = prepared_codes.prepare_codes(codes, centre, dtype)[1]
    torch.testing.assert_close(terms[0], exact[0], rtol=1e-6, atol=0)
    size = codes.double().square().sum(1) + centre.double().square().sum()
    assert ((terms[1].double() - exact[1].double()).abs() <= 1e-6 * size).all()
    # Bounds that are far too wide leave every row in doubt.
    assert (terms[2] <= 1.01 * exact[2] + 1e-6 * exact[3]).all()
    assert (terms[3] <= 1.01 * exact[3]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF_DTYPES])
@pytest.mark.parametrize("rows", [0, 1, 37])
@pytest.mark.parametrize("width", [1, 5, 300])
def test_gathered_codes(dtype, rows, width) -> None:
    codes = draw(width, 9, seed=1).T
    indices = torch.arange(rows) % 10 - 1
    valid = torch.arange(rows) % 20 != 10
    found = ops.gather_codes(codes, indices, dtype, valid)
    assert (found.dtype, found.shape) == (dtype, (rows, width))
    for row in range(rows):
        expected = codes[max(int(indices[row]), 0)].to(dtype)
        if indices[row] < 0 and valid[row]:
            expected = torch.full_like(expected, torch.nan)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=0, equal_nan=True)


def test_gathered_codes_of_rows_without_a_mask() -> None:
    found = ops.gather_codes(draw(4, 3), torch.tensor([3, -1, 0]), torch.float32)
    assert torch.equal(found[[0, 2]], draw(4, 3)[[3, 0]])
    assert found[1].isnan().all()


def test_wrong_input_is_refused() -> None:
    x, codes = draw(4, 6), draw(3, 6)
    with pytest.raises(ValueError, match=r"nearest_code: received x \(4, 6\) and codes \(3, 5\)"):
        ops.nearest_code(x, codes[:, :5])
    with pytest.raises(ValueError, match="K at least 1"):
        ops.nearest_code(x, codes[:0])
    with pytest.raises(ValueError, match="received valid"):
        ops.nearest_code(x, codes, torch.ones(4))
