"""Time of every operator on this machine's CPU, forward, beside what a user would write instead.

Run by `make bench`. Each pair is checked to agree before it is timed. Shapes are those of a tiny
pre-training step; the harness for GPUs comes with the first kernels.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.optimize import linear_sum_assignment as scipy_assignment
from torch import Tensor
from torch.nn import functional

from vlp_fast import ops

SEQUENCES, LENGTH, HEADS, HEAD_DIM = 32, 66, 4, 32
ROWS, CODES, WIDTH = 4096, 512, 128
PROBLEMS, QUERIES, TARGETS = 32, 100, 30


def _attention() -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    q, k, v = torch.randn(3, SEQUENCES * LENGTH, HEADS, HEAD_DIM).unbind()
    bounds = torch.arange(0, SEQUENCES * LENGTH + 1, LENGTH, dtype=torch.int32)

    def dense(x: Tensor) -> Tensor:
        return x.unflatten(0, (SEQUENCES, LENGTH)).transpose(1, 2)

    def ours() -> Tensor:
        return ops.attention(q, k, v, bounds, bounds, max_seqlen_q=LENGTH, max_seqlen_k=LENGTH)

    def torch_sdpa() -> Tensor:
        out = functional.scaled_dot_product_attention(dense(q), dense(k), dense(v))
        return out.transpose(1, 2).flatten(0, 1)

    return ours, torch_sdpa


def _nearest_code() -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    x, codes = torch.randn(ROWS, WIDTH), torch.randn(CODES, WIDTH)
    return lambda: ops.nearest_code(x, codes), lambda: torch.cdist(x, codes).argmin(1)


def _assignment() -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    cost = torch.rand(PROBLEMS, TARGETS, QUERIES, dtype=torch.float64)

    def scipy_loop() -> Tensor:
        return torch.stack([torch.from_numpy(scipy_assignment(c)[1]) for c in cost.numpy()])

    return lambda: ops.linear_sum_assignment(cost)[1], scipy_loop


PAIRS = {"attention": _attention, "dictionary": _nearest_code, "matching": _assignment}


@pytest.mark.parametrize("who", ["vlp_fast", "peer"])
@pytest.mark.parametrize("operator", PAIRS)
def test_forward(benchmark: BenchmarkFixture, operator: str, who: str) -> None:
    benchmark.group = operator
    torch.manual_seed(0)
    ours, peer = PAIRS[operator]()
    torch.testing.assert_close(ours(), peer())
    benchmark(ours if who == "vlp_fast" else peer)
