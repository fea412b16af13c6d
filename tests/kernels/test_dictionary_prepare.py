"""Codes for the search are rounded as torch rounds."""

import prepared_codes
import pytest
import torch

pytest.importorskip("triton")

from vlp_fast.kernels import dictionary_prepare, launch

pytestmark = pytest.mark.skipif(not launch.IS_INTERPRETED, reason="tensors of the CPU")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_operands_are_rounded_as_torch_rounds(dtype, monkeypatch) -> None:
    monkeypatch.setattr(dictionary_prepare, "BLOCK_D", 8)
    # Halves between neighbours go to the even one; what does not fit is clamped.
    step = torch.finfo(dtype).eps
    halves = 1 + step * torch.arange(0, 8).float() / 2
    codes = torch.stack((halves, -halves, 3e38 * halves.sign(), 1e-3 * torch.linspace(-1, 1, 8)))
    centre = torch.zeros(8)
    operand, terms = dictionary_prepare.prepare_codes(codes, centre, dtype)
    expected, expected_terms = prepared_codes.prepare_codes(codes, centre, dtype)
    assert torch.equal(operand, expected)
    torch.testing.assert_close(terms, expected_terms, rtol=1e-6, atol=0)
