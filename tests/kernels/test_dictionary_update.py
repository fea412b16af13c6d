"""Codes are moved wherever they lie in memory."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from vlp_fast.kernels import dictionary_update as update
from vlp_fast.kernels import launch
from vlp_fast.reference import dictionary as reference

pytestmark = pytest.mark.skipif(not launch.IS_INTERPRETED, reason="tensors of the CPU")


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
