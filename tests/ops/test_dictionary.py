"""The dictionary's operators against brute force in float64, closed forms and hand arithmetic."""

import pytest
import torch
from torch import Tensor

from vlp_fast import ops


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


@pytest.mark.parametrize("rows", [0, 1, 2, 97])
@pytest.mark.parametrize("num_codes", [1, 2, 61])
@pytest.mark.parametrize("width", [1, 7, 64])
def test_nearest_is_brute_force(rows, num_codes, width) -> None:
    x, codes = draw(rows, width), draw(num_codes, width, seed=1)
    indices = ops.nearest_code(x, codes)
    assert indices.dtype == torch.int64
    assert torch.equal(indices, brute_force(x, codes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_dtype_is_exact(dtype) -> None:
    x, codes = draw(150, 16, dtype=dtype), draw(40, 16, seed=1, dtype=dtype)
    assert torch.equal(ops.nearest_code(x, codes), brute_force(x, codes))


def test_lowest_index_of_duplicates() -> None:
    # Sizes that are no multiple of a tile: a product rounds equal columns differently there.
    for width in (3, 33, 130):
        distinct = draw(19, width, seed=2)
        codes = distinct.repeat(7, 1)
        x = draw(101, width, seed=3)
        assert torch.equal(ops.nearest_code(x, codes), brute_force(x, distinct))


def test_ties_between_different_codes() -> None:
    codes = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.5, 0.0], [-1.0, -1.0]])
    assert ops.nearest_code(x, codes).tolist() == [1, 1, 0, 2]


def test_all_codes_zero_gives_code_zero() -> None:
    assert ops.nearest_code(draw(5, 8), torch.zeros(9, 8)).tolist() == [0] * 5


def test_near_ties_that_float32_confuses() -> None:
    # Far from the origin |x|^2 - 2 x.d cancels: distances of about 1e-3 between codes at 1000.
    offset = 1000 + draw(1, 32, seed=4)
    codes = offset + 1e-3 * draw(50, 32, seed=5)
    x = offset + 1e-3 * draw(200, 32, seed=6)
    assert torch.equal(ops.nearest_code(x, codes), brute_force(x, codes))


def test_strided_and_expanded_inputs() -> None:
    x = draw(20, 40).T[::2]
    codes = draw(20, 34, seed=1).T[::2]
    assert torch.equal(ops.nearest_code(x, codes), brute_force(x, codes))
    same = draw(1, 20).expand(6, 20)
    assert torch.equal(ops.nearest_code(same, codes), brute_force(same, codes))


def test_chunks_make_no_difference(monkeypatch) -> None:
    from vlp_fast.reference import dictionary

    x, codes = draw(50, 8), draw(11, 8, seed=1)
    whole = ops.nearest_code(x, codes)
    monkeypatch.setattr(dictionary, "_CHUNK_SCORES", 77)
    assert torch.equal(ops.nearest_code(x, codes), whole)


def test_invalid_and_non_finite_rows_do_not_disturb_the_others() -> None:
    x, codes = draw(9, 6), draw(5, 6, seed=1)
    expected = brute_force(x, codes)
    x[2], x[5, 3] = torch.nan, torch.inf
    valid = torch.ones(9, dtype=torch.bool)
    valid[7] = False
    indices = ops.nearest_code(x, codes, valid)
    others = [0, 1, 3, 4, 6, 8]
    assert torch.equal(indices[others], expected[others])
    assert indices[[2, 5, 7]].tolist() == [0, 0, 0]


def test_autocast_does_not_round() -> None:
    x, codes = draw(300, 16), draw(200, 16, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        indices = ops.nearest_code(x, codes)
    assert torch.equal(indices, brute_force(x, codes))


def test_statistics_by_hand() -> None:
    x = torch.tensor([[1.0, 2], [3, 4], [5, 6], [torch.nan, 1], [7, 8], [9, torch.inf]])
    indices = torch.tensor([2, 0, 2, 2, 0, 1])
    valid = torch.tensor([1, 1, 1, 1, 0, 1]).bool()
    sums, counts, *_ = ops.code_statistics(x, indices, 4, valid)
    assert sums.tolist() == [[3, 4], [0, 0], [6, 8], [0, 0]]
    assert counts.tolist() == [1, 0, 2, 0]
    sums, counts, *_ = ops.code_statistics(x, indices, 4)
    assert sums.tolist() == [[10, 12], [0, 0], [6, 8], [0, 0]]
    assert counts.tolist() == [2, 0, 2, 0]
    sums, counts, *_ = ops.code_statistics(x[:0], indices[:0], 4)
    assert sums.abs().sum() == counts.sum() == 0


def test_statistics_of_half_precision_do_not_saturate() -> None:
    x = torch.ones(5000, 2, dtype=torch.bfloat16)
    sums, counts, *_ = ops.code_statistics(x, torch.zeros(5000, dtype=torch.int64), 2)
    assert sums.dtype == counts.dtype == torch.float32
    assert sums[0].tolist() == [5000, 5000]
    assert counts.tolist() == [5000, 0]


@pytest.mark.parametrize("momentum", [0.0, 0.4, 0.99, 1.0])
def test_ema_is_equation_4(momentum) -> None:
    before = draw(6, 5)
    x, indices = draw(40, 5, seed=1), torch.arange(40) % 4
    codes = before.clone()
    ops.ema_update(codes, *ops.code_statistics(x, indices, 6)[:2], momentum=momentum)
    for code in range(4):
        mean = x[indices == code].double().mean(0)
        expected = momentum * before[code].double() + (1 - momentum) * mean
        torch.testing.assert_close(codes[code].double(), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(codes[4:], before[4:])


def test_ema_converges_geometrically_to_the_mean() -> None:
    codes = torch.zeros(1, 3)
    x = draw(10, 3)
    for _ in range(12):
        ops.ema_update(
            codes,
            *ops.code_statistics(x, torch.zeros(10, dtype=torch.int64), 1)[:2],
            momentum=0.7,
        )
    torch.testing.assert_close(codes[0], (1 - 0.7**12) * x.mean(0), rtol=1e-5, atol=1e-6)


def test_official_rule_by_hand() -> None:
    codes = torch.tensor([[5.0], [6.0], [7.0]])
    average, size = torch.zeros(3, 1), torch.zeros(3)
    sums, counts = torch.tensor([[4.0], [0.0], [3.0]]), torch.tensor([2.0, 0.0, 1.0])
    arguments = {"momentum": 0.4, "eps": 0.1}
    ops.laplace_ema_update(codes, average, size, sums, counts, **arguments)
    # n = .6 * (2, 0, 1) = (1.2, 0, .6), N = 1.8; s = (n + .1) / (1.8 + .3) * 1.8.
    # e = .6 * (4, 0, 3) = (2.4, 0, 1.8).
    assert size.tolist() == pytest.approx([1.2, 0, 0.6])
    assert average[:, 0].tolist() == pytest.approx([2.4, 0, 1.8])
    smoothed = [(n + 0.1) * 1.8 / 2.1 for n in (1.2, 0, 0.6)]
    assert codes[:, 0].tolist() == pytest.approx([2.4 / smoothed[0], 0, 1.8 / smoothed[2]])
    ops.laplace_ema_update(codes, average, size, torch.zeros(3, 1), torch.zeros(3), **arguments)
    assert size.tolist() == pytest.approx([0.48, 0, 0.24])
    assert codes[0, 0].item() == pytest.approx(0.96 / (0.58 * 0.72 / 1.02))


def test_codes_without_rows_die_in_the_official_rule_only() -> None:
    x, indices = draw(30, 4), torch.zeros(30, dtype=torch.int64)
    statistics = ops.code_statistics(x, indices, 3)[:2]
    paper, official = draw(3, 4, seed=1), draw(3, 4, seed=1)
    before = paper.clone()
    ops.ema_update(paper, *statistics, momentum=0.4)
    ops.laplace_ema_update(official, torch.zeros(3, 4), torch.zeros(3), *statistics, momentum=0.4)
    assert torch.equal(paper[1:], before[1:])
    assert (official[1:] == 0).all()
    torch.testing.assert_close(official[0], x.mean(0), rtol=1e-4, atol=1e-4)


def test_wrong_input_is_refused() -> None:
    x, codes = draw(4, 6), draw(3, 6)
    with pytest.raises(ValueError, match=r"nearest_code: received x \(4, 6\) and codes \(3, 5\)"):
        ops.nearest_code(x, codes[:, :5])
    with pytest.raises(ValueError, match="K at least 1"):
        ops.nearest_code(x, codes[:0])
    with pytest.raises(ValueError, match="received valid"):
        ops.nearest_code(x, codes, torch.ones(4))
    with pytest.raises(ValueError, match="code_statistics: received x"):
        ops.code_statistics(x, torch.zeros(3, dtype=torch.int64), 3)
    with pytest.raises(ValueError, match="ema_update: received codes"):
        ops.ema_update(codes, codes[:2], torch.ones(3), momentum=0.9)
    with pytest.raises(ValueError, match="laplace_ema_update: received codes"):
        ops.laplace_ema_update(codes, codes[:2], torch.ones(3), codes, torch.ones(3), momentum=0.9)
