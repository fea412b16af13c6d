"""Codes are written wherever they lie in memory, and rounded as torch rounds."""

import prepared_codes
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from vlp_fast.kernels import dictionary_update as update
from vlp_fast.kernels import launch
from vlp_fast.reference import dictionary as reference

pytestmark = pytest.mark.skipif(not launch.IS_INTERPRETED, reason="tensors of the CPU")

HALF = [torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "BLOCK_D", 8)
    monkeypatch.setattr(update, "SIZES_BLOCK", 4)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scattered(tensor: Tensor) -> Tensor:
    """The same numbers, transposed in memory and with gaps."""
    wider = torch.full((*[2 * size for size in tensor.shape[::-1]],), torch.nan, dtype=tensor.dtype)
    view = wider.permute(*range(tensor.ndim)[::-1])[(slice(None, None, 2),) * tensor.ndim]
    view.copy_(tensor)
    return view


@pytest.mark.parametrize("dtype", [*HALF, torch.float32])
def test_operands_are_rounded_as_torch_rounds(dtype) -> None:
    # Halves between neighbours go to the even one; what does not fit is clamped.
    step = torch.finfo(dtype).eps
    halves = 1 + step * torch.arange(0, 8).float() / 2
    codes = torch.stack((halves, -halves, 3e38 * halves.sign(), 1e-3 * draw(8)))
    centre = torch.zeros(8)
    operand, terms = update.prepare_codes(codes, centre, dtype)
    expected, expected_terms = prepared_codes.prepare_codes(codes, centre, dtype)
    assert torch.equal(operand, expected)
    torch.testing.assert_close(terms, expected_terms, rtol=1e-6, atol=0)


@pytest.mark.parametrize("is_official", [False, True])
def test_memory_with_gaps(is_official) -> None:
    codes, averages, sizes = draw(7, 19), draw(7, 19, seed=1), draw(7, seed=2).abs()
    sums, counts = draw(7, 19, seed=3), torch.arange(7).float()
    state = [codes, averages, sizes] if is_official else [codes]
    options = (0.4, 1e-5) if is_official else (0.4,)
    name = "laplace_ema_update" if is_official else "ema_update"
    found = [scattered(tensor) for tensor in (*state, sums, counts)]
    moved, read = found[: len(state)], found[len(state) :]
    getattr(update, name)(*moved, *read, *options)
    getattr(reference, name)(*state, sums, counts, *options)
    for one, other in zip(moved, state, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_sums_of_codes_without_rows_are_not_read() -> None:
    codes, sums = draw(3, 4), torch.full((3, 4), torch.nan)
    before = codes.clone()
    update.ema_update(codes, sums, torch.zeros(3), 0.5)
    assert torch.equal(codes, before)
