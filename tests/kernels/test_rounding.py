"""Rounding in programs: what PyTorch's conversion gives, for every kind of number."""

import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl

from vlp_fast.kernels.rounding import TYPES, rounded


@triton.jit
def round_kernel(x_ptr, out_ptr, DTYPE: tl.constexpr, BLOCK: tl.constexpr):
    places = tl.arange(0, BLOCK)
    tl.store(out_ptr + places, rounded(tl.load(x_ptr + places), DTYPE))


BITS = [0, 0x80000000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 1, 0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF]
TIES = [0x3F808000, 0x3F818000, 0x3F808001, 0xBF817FFF, 0x477FF000, 0x33000000, 0x38800001]


@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_are_rounded_as_pytorch_does(dtype) -> None:
    bits = torch.tensor([*BITS, *TIES], dtype=torch.int64).to(torch.int32)
    x = torch.cat((bits.view(torch.float32), 1e3 * torch.randn(16, generator=generator())))
    out = torch.empty_like(x)
    round_kernel[(1,)](x, out, DTYPE=TYPES[dtype], BLOCK=32)
    torch.testing.assert_close(out, x.to(dtype).float(), rtol=0, atol=0, equal_nan=True)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
