"""Attention on a CPU by PyTorch's kernel: what is copied, planned and computed in float32."""

import importlib

import pytest
import torch
from dense_attention import bounds, packed, rows
from torch.profiler import ProfilerActivity, profile

from vlp_fast import ops

HALF = (torch.bfloat16, torch.float16)
backend = importlib.import_module("vlp_fast.ops.attention_torch")


def copied_rows(lengths: list[int]) -> list[int]:
    """Rows in each copy of 3 heads of width 8 that attention makes."""
    q, k, v = (rows(lengths, seed=s) for s in range(3))
    with ops.use("torch"), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        packed(q, k, v, lengths, lengths)
    shapes = [event.input_shapes[0] for event in found.events() if event.name == "aten::copy_"]
    return [torch.Size(shape).numel() // 24 for shape in shapes if shape[-1:] == [8]]


def test_no_rows_are_copied_where_lengths_are_equal() -> None:
    assert copied_rows([5, 3]) == [5, 3]
    assert copied_rows([5, 5]) == []
    assert copied_rows([4]) == []


@pytest.mark.parametrize("lengths", [[4, 4], [7], [5, 3]])
def test_outputs_may_be_written_to(lengths) -> None:
    q = rows(lengths, seed=0).requires_grad_()
    with ops.use("torch"):
        out = packed(q, q, q, lengths, lengths)
    expected = 2 * out.detach()
    out.mul_(2)
    assert torch.equal(out, expected)


def test_runs_are_found_once_for_all_layers_and_their_backward_passes() -> None:
    lengths = [6, 6, 2, 9]
    backend._plan_on_host.cache_clear()
    with ops.use("torch"):
        for seed in range(3):
            q = rows(lengths, seed=seed).requires_grad_()
            packed(q, q, q, lengths, lengths).sum().backward()
    assert backend._plan_on_host.cache_info().misses == 1
    at = bounds(lengths).tolist()
    (first, second, third) = backend._plan_on_host(tuple(at), tuple(at), 9, 9, 23, 23).runs
    assert first.queries == first.keys == backend.Rows(start=0, number=2, length=6)
    assert second.queries == backend.Rows(start=12, number=1, length=2)
    assert third.keys == backend.Rows(start=14, number=1, length=9)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_gradients_of_half_precision_are_those_of_float32_rounded(dtype, dropout_p) -> None:
    lengths = [33, 5, 5]
    q, k, v, grad = (rows(lengths, seed=s, dtype=dtype) for s in range(4))
    seed = torch.tensor(3) if dropout_p else None
    options = (bounds(lengths), bounds(lengths), None, 33, 33, True, 0.3, dropout_p, seed)
    with ops.use("torch"):
        out, lse = torch.ops.vlp_fast.attention(q, k, v, *options)
        results = []
        for cast in (torch.Tensor.clone, torch.Tensor.float):
            inputs = [cast(x) for x in (grad, q, k, v, out)]
            found = [torch.empty_like(x) for x in inputs[:3]]
            torch.ops.vlp_fast.attention_backward(*inputs, lse, *options, *found)
            results.append(found)
    for narrow, wide in zip(*results, strict=True):
        assert torch.equal(narrow, wide.to(dtype))


@pytest.mark.parametrize(("dtype", "dropout_p"), [(HALF[0], 0.3), (HALF[1], 0.3), (HALF[1], 0.0)])
def test_outputs_of_half_precision_are_those_of_float32_rounded(dtype, dropout_p) -> None:
    lengths = [33, 5, 5]
    q, k, v = (rows(lengths, seed=s, dtype=dtype) for s in range(3))
    options = {"causal": True, "dropout_p": dropout_p, "seed": 3}
    with ops.use("torch"):
        narrow = packed(q, k, v, lengths, lengths, **options)
        wide = packed(q.float(), k.float(), v.float(), lengths, lengths, **options)
    assert torch.equal(narrow, wide.to(dtype))
