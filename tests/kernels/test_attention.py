"""What Triton's attention refuses or copies, because of its tiles and grids."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from vlp_fast import ops
from vlp_fast.kernels import attention, launch
from vlp_fast.kernels.attention_rows import FARTHEST, MOST_PROGRAMS, operand, programs
from vlp_fast.reference import attention as definition

pytestmark = pytest.mark.skipif(not launch.IS_INTERPRETED, reason="tensors of the CPU")


def attend(q: Tensor) -> Tensor:
    """Self-attention of one sequence whose keys and values are its queries."""
    bounds = torch.tensor([0, len(q)], dtype=torch.int32)
    with ops.use("triton"):
        return ops.attention(q, q, q, bounds, bounds, max_seqlen_q=len(q), max_seqlen_k=len(q))


def test_log_sum_exp_is_the_definitions_and_inf_where_no_key_is_seen() -> None:
    q, k, v = (torch.randn(n, 2, 16) for n in (43, 37, 37))
    bounds = [torch.tensor(x, dtype=torch.int32) for x in ([0, 20, 40, 43], [0, 33, 37, 37])]
    options = (*bounds, None, 20, 33, True, 0.3, 0.0, None)
    _, lse = attention.attention(q, k, v, *options)
    _, expected = definition.attention(q, k, v, *options)
    assert expected.isposinf().sum() == 2 * (16 + 3)
    torch.testing.assert_close(lse, expected)


def test_queries_behind_a_sequence_weigh_no_infinite_key() -> None:
    q, k, v = (torch.rand(21, 1, 16) for _ in range(3))
    k[5] = -torch.inf
    v.requires_grad_()
    bounds = torch.tensor([0, 21], dtype=torch.int32)
    with ops.use("triton"):
        out = ops.attention(q, k, v, bounds, bounds, max_seqlen_q=21, max_seqlen_k=21)
        (found,) = torch.autograd.grad(out.sum(), v)
    assert torch.equal(found[5], torch.zeros(1, 16))
    torch.testing.assert_close(found.sum(0), torch.full((1, 16), 21.0))


def test_the_widest_heads() -> None:
    q = torch.randn(3, 2, 256)
    weights = (torch.einsum("ine,jne->nij", q, q) / 16).softmax(-1)
    torch.testing.assert_close(attend(q), torch.einsum("nij,jne->ine", weights, q))


def test_heads_too_wide_for_a_tile_are_refused() -> None:
    with pytest.raises(ValueError, match=r"heads of width 257 .* expected at most 256"):
        attend(torch.randn(3, 2, 257))


def test_more_programs_than_a_grid_holds_are_refused() -> None:
    assert programs(2**10, 2**10, 2**11 - 1) == 2**31 - 2**20 <= MOST_PROGRAMS
    with pytest.raises(ValueError, match=r"2048 sequences of up to 1024 tiles with 1024 heads"):
        programs(2**10, 2**10, 2**11)


def test_rows_and_columns_far_apart_are_copied() -> None:
    near = torch.empty_strided((2, 3, 8), (FARTHEST - 1, 8, 1), device="meta")
    assert operand(near) is near
    for strides in ((FARTHEST, 8, 1), (24, 8, 2), (0, 0, 0)):
        far = torch.empty_strided((2, 3, 8), strides, device="meta")
        assert operand(far).stride() == (24, 8, 1)
