"""Operations of our operators, counted by torch's counter as it counts its own."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from vlp_fast import ops

H, D = 2, 8


def counted(*names: str, work: object) -> int:
    """Operations of some operators, by their names."""
    with FlopCounterMode(display=False) as counter:
        work()  # type: ignore[operator]
    found = counter.get_flop_counts()["Global"]
    return int(sum(n for op, n in found.items() if str(op).rpartition(".")[2] in names))


def bounds(*lengths: int) -> torch.Tensor:
    return torch.tensor([sum(lengths[:i]) for i in range(len(lengths) + 1)], dtype=torch.int32)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_counts_the_pairs_of_each_sequence(causal: bool) -> None:
    queries, keys = bounds(3, 1, 5, 4), bounds(3, 4, 2, 4)
    q = torch.randn(13, H, D, requires_grad=True)
    k, v = (torch.randn(13, H, D, requires_grad=True) for _ in range(2))
    pairs = 0
    for (q0, q1), (k0, k1) in zip(pairwise(queries.tolist()), pairwise(keys.tolist()), strict=True):
        for i in range(q1 - q0):
            pairs += sum(not causal or j <= i + (k1 - k0) - (q1 - q0) for j in range(k1 - k0))

    def work() -> None:
        options = {"max_seqlen_q": 5, "max_seqlen_k": 4, "causal": causal}
        ops.attention(q, k, v, queries, keys, **options).sum().backward()  # type: ignore[arg-type]

    assert counted("attention", work=work) == 4 * H * D * pairs
    assert counted("attention_backward", work=work) == 10 * H * D * pairs


def test_one_sequence_counts_as_pytorchs_own() -> None:
    length = 16
    packed = [torch.randn(length, H, D, requires_grad=True) for _ in range(3)]
    ends, shape = bounds(length), (1, H, length, D)
    longest = {"max_seqlen_q": length, "max_seqlen_k": length}
    work = lambda: ops.attention(*packed, ends, ends, **longest).sum().backward()
    assert counted("attention", work=work) == sdpa_flop_count(shape, shape, shape)
    backward = sdpa_backward_flop_count(shape, shape, shape, shape)
    assert counted("attention_backward", work=work) == backward


def test_products_inside_of_operators() -> None:
    x, weight, bias = torch.randn(7, 6), torch.randn(5, 6), torch.zeros(5)
    table, indices = torch.randn(4, 5), torch.zeros(7, 1, dtype=torch.int32)
    linear = lambda: ops.linear_with_positions(x, weight, bias, table, indices)
    assert counted("linear_with_positions", work=linear) == 2 * 7 * 5 * 6
    nearest = lambda: ops.nearest_code(x, weight)
    assert counted("nearest_code", work=nearest) == 2 * 7 * 5 * 6
