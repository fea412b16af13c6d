"""A whole encoder layer under torch.compile and under activation checkpointing."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.positions import TablePositions
from vlp_fast.layers.transformer import EncoderLayer, LayerConfig
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import Packing, make_packing

WIDTH = 16
SIZES = [(2, 3), (4, 1), (1, 1)]


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def make_layer(dropout: float) -> EncoderLayer:
    torch.manual_seed(0)
    return EncoderLayer(LayerConfig(width=WIDTH, num_heads=2, ffn_dim=24, dropout=dropout))


def batch(text: list[int], image_of: list[int]) -> tuple[Tensor, Packing, TablePositions]:
    grid = make_grid(SIZES, (4, 4))
    packing = make_packing(text, image_of, grid)
    x = torch.randn(packing.num_rows, WIDTH, generator=torch.Generator().manual_seed(1))
    return x, packing, SinePosition(WIDTH).on_rows(grid, packing)


def step(run: Callable[..., Tensor], layer: EncoderLayer, *inputs: object) -> list[Tensor]:
    """Output and gradients of one step from a fixed seed."""
    rows, *rest = inputs
    x = rows.clone().requires_grad_()
    torch.manual_seed(7)
    out = run(x, *rest)
    grads = torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])
    return [out.detach(), *grads]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_layer_is_one_graph_with_the_same_result(dtype: torch.dtype) -> None:
    layer = make_layer(dropout=0.0)

    def run(x: Tensor, packing: Packing, positions: TablePositions) -> Tensor:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            return layer(x, packing, positions)

    inputs = batch([4, 2, 1], [0, 1, 2])
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for got, expected in zip(
        step(compiled, layer, *inputs), step(run, layer, *inputs), strict=True
    ):
        torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)


def test_dropout_is_drawn_inside_of_the_graph() -> None:
    layer, inputs = make_layer(dropout=0.5), batch([4, 2, 1], [0, 1, 2])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    first, second = compiled(*inputs), compiled(*inputs)
    assert not torch.equal(first, second)


def test_other_batches_are_not_compiled_again() -> None:
    layer = make_layer(dropout=0.1)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for length in range(2, 12):
        texts = [length, 1, 3, 2][: 2 + length % 3]
        step(compiled, layer, *batch(texts, [length % 3, 1, -1, 0][: len(texts)]))
    # Once with sizes taken for constants, then with sizes that vary.
    assert counter.frame_count <= 2


def test_checkpointing_draws_the_same_dropout_again() -> None:
    layer, inputs = make_layer(dropout=0.3), batch([4, 2, 1], [0, 1, 2])

    def again(*inputs: object) -> Tensor:
        out: Tensor = checkpoint(layer, *inputs, use_reentrant=False)
        return out

    for got, expected in zip(step(again, layer, *inputs), step(layer, layer, *inputs), strict=True):
        torch.testing.assert_close(got, expected)
