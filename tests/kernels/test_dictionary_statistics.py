"""The counting sort's own corners: blocks, chunks, and an order that nothing else disturbs."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from vlp_fast.kernels import dictionary_statistics as statistics
from vlp_fast.kernels import launch
from vlp_fast.reference import dictionary as reference

pytestmark = pytest.mark.skipif(not launch.IS_INTERPRETED, reason="tensors of the CPU")

WIDTH = 5


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"BLOCK": 16, "CHUNK": 8, "STEP": 4, "RANK_STEP": 4, "CODES_BLOCK": 4, "BLOCK_D": 4}
    for name, size in sizes.items():
        monkeypatch.setattr(statistics, name, size)


def rows_of(counts: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of small integers, whose sums are exact, as many of each code, in any order."""
    generator = torch.Generator().manual_seed(seed)
    indices = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    indices = indices[torch.randperm(len(indices), generator=generator)]
    return torch.randint(-9, 10, (len(indices), WIDTH), generator=generator).float(), indices


def check(x: Tensor, indices: Tensor, num_codes: int, check_finite: bool = True) -> Tensor:
    arguments = (x, indices, num_codes, None, check_finite)
    expected = reference.code_statistics(*arguments, True)
    for deterministic in (True, False):
        found = statistics.code_statistics(*arguments, deterministic)
        assert torch.equal(found, expected)
    return expected


@pytest.mark.parametrize(
    "counts",
    [[1], [8], [9], [0, 0, 1], [7, 8, 9, 0, 16, 17], [0, 40, 0, 0, 0, 0, 3, 0], [1] * 21],
    ids=str,
)
@pytest.mark.parametrize("check_finite", [True, False])
def test_chunks(counts, check_finite) -> None:
    check(*rows_of(counts), len(counts), check_finite)


@pytest.mark.parametrize("rows", [15, 16, 17, 32])
def test_blocks(rows) -> None:
    x, indices = rows_of([rows // 2, rows - rows // 2])
    check(x, indices, 2)


def test_rows_that_do_not_count_at_both_ends_of_a_block() -> None:
    x, indices = rows_of([20, 13])
    x[0], x[15], x[16, 4], x[32] = torch.nan, torch.inf, -torch.inf, torch.nan
    indices[1] = indices[17] = -1
    assert check(x, indices, 2)[-1] == 4


def test_indices_beyond_the_codes_are_not_written() -> None:
    x, indices = rows_of([10, 10])
    beyond = indices.clone()
    beyond[3], beyond[7] = 2, 10**6
    keep = torch.ones(20, dtype=torch.bool)
    keep[[3, 7]] = False
    for deterministic in (True, False):
        found = statistics.code_statistics(x, beyond, 2, None, True, deterministic)
        assert torch.equal(found, reference.code_statistics(x, indices, 2, keep, True, True))


def test_rows_of_other_codes_do_not_move_a_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(29, WIDTH, generator=generator) * torch.logspace(-3, 5, 29)[:, None]
    alone = statistics.code_statistics(own, torch.full((29,), 1), 3, None, True, True)
    place = torch.randperm(70, generator=generator)[:29].sort().values
    x, indices = torch.randn(70, WIDTH, generator=generator), torch.arange(70) % 2 * 2
    x[place], indices[place] = own, 1
    among = statistics.code_statistics(x, indices, 3, None, True, True)
    assert torch.equal(among[WIDTH : 2 * WIDTH], alone[WIDTH : 2 * WIDTH])


def test_partial_sums_are_added_in_float64() -> None:
    x = torch.full((200, WIDTH), 1 / 3)
    x[:8] = 1e6
    found = statistics.code_statistics(x, torch.zeros(200, dtype=torch.int64), 1, None, True, True)
    chunks = [x[start : start + 8].sum(0).double() for start in range(0, 200, 8)]
    assert torch.equal(found[:WIDTH], sum(chunks).float())
