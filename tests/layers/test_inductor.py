"""Layers and operators compiled by Inductor, in values and gradients beside themselves.

`aot_eager`, which other tests compile with, keeps PyTorch's own kernels; faults of generated ones
are seen here alone. A compilation takes seconds, so whatever may share a graph does.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from vlp_fast import HungarianMatcher, SetCriterion, ops
from vlp_fast.layers.attention import CrossAttention, GridAttention
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.transformer import DecoderLayer, LayerConfig

pytestmark = pytest.mark.slow
# Rows and widths that are multiples of each other and of a vector of the CPU, and that are not.
sizes = pytest.mark.parametrize(
    ("text", "width"), [([10, 18], 32), ([4, 6], 20)], ids=["even", "odd"]
)


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def assert_compiles(function: Callable[..., Tensor], leaves: list[Tensor], *rest: Any) -> None:
    """One graph, the eager values and gradients; dropout draws where it is told to."""
    results = []
    for run in (function, torch.compile(function, fullgraph=True)):
        out = run(*leaves, *rest)
        weights = torch.linspace(-1, 1, out.numel()).view_as(out)
        results.append([out.detach(), *torch.autograd.grad((out * weights).sum(), leaves)])
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(traced, eager, atol=1e-5, rtol=1e-4)


def rows(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@sizes
def test_operators(text: list[int], width: int) -> None:
    packing, heads = ops.make_packing(text, [-1, -1], None), (4, width // 4)
    other = ops.make_packing(text[::-1], [-1, -1], None)
    count, bounds = packing.num_rows, packing.cu_seqlens
    longest: dict[str, Any] = {"max_seqlen_q": max(text), "max_seqlen_k": max(text)}
    indices = torch.arange(-1, 2 * count - 1, dtype=torch.int32).view(count, 2) % count

    def function(x: Tensor, weight: Tensor, bias: Tensor, table: Tensor) -> Tensor:
        qkv = ops.linear_with_positions(x, weight, bias, table, indices).unflatten(1, (3, *heads))
        q, k, v = qkv.unbind(1)
        once = ops.attention_qkvpacked(qkv, bounds, max_seqlen=max(text), dropout_p=0.3, seed=4)
        beyond = ops.attention_kvpacked(q, qkv[:, 1:], bounds, other.cu_seqlens, **longest)
        causal = ops.attention(q, k, v, bounds, bounds, causal=True, **longest)
        alike = ops.attention(q, q, q, bounds, bounds, **longest)
        found = (once + beyond + causal + alike).flatten(1)
        options = {"eps": 1e-5, "dropout_p": 0.2, "seed": 5}
        normed, summed = ops.residual_norm(found, x, bias[:width], bias[:width], **options)
        return normed + ops.residual_norm(summed, summed, weight[0], bias[-width:], eps=1e-5)[0]

    shapes = [(count, width), (3 * width, width), (3 * width,), (count, 2 * width)]
    assert_compiles(function, [rows(*shape, seed=s) for s, shape in enumerate(shapes)])


def test_layers() -> None:
    """A decoder layer over pictures, before padded rows that attend to their own kind."""
    text, width = [4, 6], 20
    torch.manual_seed(0)
    grid = ops.make_grid([(2, 3), (1, 2)], (2, 3))
    packing, asking = ops.make_packing(text, [0, 1], grid), ops.uniform_packing(2, 5)
    config = LayerConfig(width=width, num_heads=4, ffn_dim=2 * width, activation="gelu")
    layer = DecoderLayer(config).eval()
    around, beyond = GridAttention(width, 4), CrossAttention(width, 4)
    sine = SinePosition(width).on_rows(grid, packing)
    is_padding = torch.arange(5) >= torch.tensor([[3], [5]])

    def function(queries: Tensor, memory: Tensor, *_: Tensor) -> Tensor:
        options = {"memory_positions": sine, "causal": True}
        padded = layer(queries, asking, memory, packing, **options).view(2, 5, -1)
        padded = around(padded, key_padding_mask=is_padding)
        out: Tensor = beyond(padded, padded, key_padding_mask=is_padding)
        return out

    leaves = [rows(10, width, seed=1), rows(packing.num_rows, width, seed=2)]
    parameters = [p for part in (layer, around, beyond) for p in part.parameters()]
    assert_compiles(function, [*leaves, *parameters])


@pytest.mark.exhaustive  # dozens of kernels to generate; `aot_eager` compiles it elsewhere
def test_matcher_and_criterion() -> None:
    counts, queries = [2, 0, 3], 7
    criterion = SetCriterion(3, HungarianMatcher(1, 5, 2), {}, 0.1, ["labels", "boxes"])
    generator = torch.Generator().manual_seed(3)
    targets = ops.make_targets(
        [
            (
                torch.rand(n, 4, generator=generator) * 0.4 + 0.2,
                torch.arange(n) % 3,
                torch.arange(n) % 3 - 1,
            )
            for n in counts
        ]
    )

    def function(logits: Tensor, boxes: Tensor) -> Tensor:
        losses = criterion({"pred_logits": logits, "pred_boxes": boxes.sigmoid()}, targets)
        return torch.stack(list(losses.values()))

    shape = (len(counts), queries, 4)
    assert_compiles(function, [rows(*shape, seed=1), rows(*shape, seed=2)])
