"""Statistics and moving averages of the dictionary, on every backend, against hand arithmetic."""

import pytest
import torch
from torch import Tensor

from vlp_fast import ops
from vlp_fast.reference import dictionary as reference

pytestmark = pytest.mark.usefixtures("dictionary_backend")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(rows: int, num_codes: int, *, lowest: int = 0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(lowest, num_codes, (rows,), generator=generator)


def check_statistics(x: Tensor, indices: Tensor, num_codes: int, **options: object) -> None:
    """Against sums in float64, to the rounding of float32 additions in any sensible order."""
    found = ops.code_statistics(x, indices, num_codes, **options)
    keep = x.isfinite().all(1) & (indices >= 0)
    valid = options.get("valid")
    keep = keep if valid is None else keep & valid
    for code in range(num_codes):
        rows = x[keep & (indices == code)].double()
        assert found.counts[code] == len(rows)
        allowed = 1e-6 * rows.abs().sum(0) + 1e-30
        assert ((found.sums[code].double() - rows.sum(0)).abs() <= allowed).all()


def test_statistics_by_hand() -> None:
    x = torch.tensor([[1.0, 2], [3, 4], [5, 6], [torch.nan, 1], [7, 8], [9, torch.inf]])
    indices = torch.tensor([2, 0, 2, 2, 0, 1])
    valid = torch.tensor([1, 1, 1, 1, 0, 1]).bool()
    found = ops.code_statistics(x, indices, 4, valid)
    assert found.sums.tolist() == [[3, 4], [0, 0], [6, 8], [0, 0]]
    assert found.counts.tolist() == [1, 0, 2, 0]
    assert found.non_finite == 2
    found = ops.code_statistics(x, indices, 4, ~valid)
    assert found.sums.tolist() == [[7, 8], [0, 0], [0, 0], [0, 0]]
    assert found.counts.tolist() == [1, 0, 0, 0]
    assert found.non_finite == 0
    found = ops.code_statistics(x[:0], indices[:0], 4)
    assert found.buffer.tolist() == [0] * 13


def test_the_buffer_is_the_statistics() -> None:
    found = ops.code_statistics(draw(20, 3), labels(20, 4), 4)
    assert found.buffer.dtype == torch.float32
    found.buffer.mul_(2)
    assert found.counts.sum() == 40
    assert torch.equal(found.buffer[:12].view(4, 3), found.sums)
    assert torch.equal(found.buffer[12:16], found.counts)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("rows", [1, 97, 700])
@pytest.mark.parametrize(("num_codes", "width"), [(1, 1), (5, 33), (70, 130)])
def test_statistics(rows, num_codes, width, deterministic) -> None:
    x, indices = draw(rows, width), labels(rows, num_codes, lowest=-1)
    valid = draw(rows, 1, seed=3)[:, 0] > -1
    check_statistics(x, indices, num_codes, valid=valid, deterministic=deterministic)
    check_statistics(x, indices, num_codes, check_finite=False, deterministic=deterministic)


@pytest.mark.parametrize("deterministic", [True, False])
def test_all_rows_in_one_code(deterministic) -> None:
    x = draw(1300, 9)
    check_statistics(x, torch.full((1300,), 3), 5, deterministic=deterministic)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_statistics_of_every_dtype(dtype) -> None:
    check_statistics(draw(300, 20).to(dtype), labels(300, 7), 7)


def test_statistics_of_half_precision_do_not_saturate() -> None:
    x = torch.ones(5000, 2, dtype=torch.bfloat16)
    found = ops.code_statistics(x, torch.zeros(5000, dtype=torch.int64), 2)
    assert found.sums.tolist() == [[5000, 5000], [0, 0]]
    assert found.counts.tolist() == [5000, 0]


def test_statistics_of_strided_rows() -> None:
    x = draw(20, 80).T[::2]
    check_statistics(x, labels(80, 6)[::2], 6)
    check_statistics(draw(1, 20).expand(40, 20), labels(80, 6)[::2], 6)
    check_statistics(draw(40, 1).expand(40, 20), labels(40, 6), 6)


def test_sums_are_the_same_bits_every_time() -> None:
    x = 1e4 * draw(900, 12) * torch.logspace(-4, 4, 900)[:, None]
    for indices in (labels(900, 30), torch.zeros(900, dtype=torch.int64)):
        first = ops.code_statistics(x, indices, 30).buffer
        for _ in range(3):
            assert torch.equal(ops.code_statistics(x, indices, 30).buffer, first)


@pytest.mark.parametrize("check_finite", [True, False])
def test_non_finite_rows_are_counted_and_left_out(check_finite) -> None:
    x = draw(50, 6)
    indices = labels(50, 4)
    x[[3, 10]], x[20, 5] = torch.nan, -torch.inf
    valid = torch.arange(50) != 10
    if not check_finite:
        indices[[3, 20]] = -1
    found = ops.code_statistics(x, indices, 4, valid, check_finite=check_finite)
    assert found.non_finite == 2
    assert found.counts.sum() == 47
    assert found.buffer.isfinite().all()


@pytest.mark.parametrize("momentum", [0.0, 0.4, 0.99, 1.0])
def test_ema_is_equation_4(momentum) -> None:
    before = draw(6, 5)
    x, indices = draw(40, 5, seed=1), torch.arange(40) % 4
    codes = before.clone()
    found = ops.code_statistics(x, indices, 6)
    version = codes._version
    ops.ema_update(codes, found.sums, found.counts, momentum=momentum)
    assert codes._version > version
    for code in range(4):
        mean = x[indices == code].double().mean(0)
        expected = momentum * before[code].double() + (1 - momentum) * mean
        torch.testing.assert_close(codes[code].double(), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(codes[4:], before[4:])


def test_ema_converges_geometrically_to_the_mean() -> None:
    codes, x = torch.zeros(1, 3), draw(10, 3)
    found = ops.code_statistics(x, torch.zeros(10, dtype=torch.int64), 1)
    for _ in range(12):
        ops.ema_update(codes, found.sums, found.counts, momentum=0.7)
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


@pytest.mark.parametrize("shape", [(3, 1), (61, 40), (300, 17)])
def test_official_rule_against_the_definition(shape) -> None:
    state = [draw(*shape), draw(*shape, seed=1), draw(shape[0], seed=2).abs()]
    expected = [tensor.double() for tensor in state]
    for step in range(3):
        sums, counts = draw(*shape, seed=3 + step), labels(shape[0], 5, seed=step).float()
        ops.laplace_ema_update(*state, sums, counts, momentum=0.4)
        wide = (sums.double(), counts.double())
        reference.laplace_ema_update(*expected, *wide, momentum=0.4, eps=1e-5)
    for found, wanted in zip(state, expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=2e-5, atol=1e-5)


def test_without_any_row_ever_the_official_codes_stay() -> None:
    codes = draw(4, 3)
    before = codes.clone()
    nothing = torch.zeros(4, 3), torch.zeros(4)
    ops.laplace_ema_update(codes, torch.zeros(4, 3), torch.zeros(4), *nothing, momentum=0.4)
    assert torch.equal(codes, before)


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
    with pytest.raises(ValueError, match="code_statistics: received x"):
        ops.code_statistics(x, torch.zeros(3, dtype=torch.int64), 3)
    with pytest.raises(ValueError, match="ema_update: received codes"):
        ops.ema_update(codes, codes[:2], torch.ones(3), momentum=0.9)
    with pytest.raises(ValueError, match="laplace_ema_update: received codes"):
        ops.laplace_ema_update(codes, codes[:2], torch.ones(3), codes, torch.ones(3), momentum=0.9)
