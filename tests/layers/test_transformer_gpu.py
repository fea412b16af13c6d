"""A whole encoder layer on a real GPU: no wait, captured by a graph, compiled by Inductor."""

from collections.abc import Callable, Iterator

import pytest
import torch
from gpu import in_graph, no_wait
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.positions import TablePositions
from vlp_fast.layers.transformer import EncoderLayer, LayerConfig
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import Packing, make_packing

pytestmark = pytest.mark.gpu

WIDTH = 64
SIZES = [(9, 13), (20, 7), (1, 1)]
# float32, and autocast to half precision: largest difference, relative to the largest value.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 3e-2}


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def make_layer(dropout: float) -> EncoderLayer:
    torch.manual_seed(0)
    config = LayerConfig(width=WIDTH, num_heads=2, ffn_dim=96, dropout=dropout)
    return EncoderLayer(config).cuda()


def batch(
    texts: list[int], image_of: list[int], seed: int = 1
) -> tuple[Tensor, Packing, TablePositions]:
    grid = make_grid(SIZES, (20, 13))
    packing = make_packing(texts, image_of, grid).to("cuda")
    generator = torch.Generator("cuda").manual_seed(seed)
    x = torch.randn(packing.num_rows, WIDTH, generator=generator, device="cuda")
    sine = SinePosition(WIDTH).cuda()
    return x, packing, sine.on_rows(grid.to("cuda"), packing)


def step(
    run: Callable[..., Tensor], layer: EncoderLayer, dtype: torch.dtype, *inputs: object
) -> list[Tensor]:
    """Output, and gradients of the input and of all parameters."""
    rows, *rest = inputs
    x = rows.detach().requires_grad_()
    # Casts that a graph captures are not to be found in a cache made outside of it.
    is_half = dtype != torch.float32
    with torch.autocast("cuda", dtype, enabled=is_half, cache_enabled=False):
        out = run(x, *rest)
    leaves = [x, *layer.parameters()]
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), leaves)]


def assert_near(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for x, y in zip(found, expected, strict=True):
        within = tolerance * y.abs().max().item()
        torch.testing.assert_close(x, y, rtol=0, atol=within)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_step_never_waits(dtype) -> None:
    layer, inputs = make_layer(0.1), batch([4, 12, 1], [0, 1, 2])
    step(layer, layer, dtype, *inputs)  # the first call compiles
    with no_wait():
        step(layer, layer, dtype, *inputs)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_graph_replays_with_other_batches_of_the_same_shapes(dtype) -> None:
    """Dropout included: from one seed, a replay draws what the eager layer draws."""
    layer, inputs = make_layer(0.3), batch([4, 12, 1], [0, 1, 2])
    x, packing, positions = inputs
    graph, found = in_graph(lambda: step(layer, layer, dtype, *inputs))
    for seed, order in ((7, [1, 0, 2]), (8, [2, 1, 0])):
        texts = [[4, 12, 1][place] for place in order]
        other_x, other, places = batch(texts, order, seed)
        assert other.max_length == packing.max_length
        x.copy_(other_x)
        packing.cu_seqlens.copy_(other.cu_seqlens)
        packing.longest_first.copy_(other.longest_first)
        positions.indices.copy_(places.indices)
        torch.manual_seed(seed)
        graph.replay()
        replayed = [tensor.clone() for tensor in found]
        torch.manual_seed(seed)
        assert_near(replayed, step(layer, layer, dtype, other_x, other, places), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_compiled_layer_is_one_graph_with_the_same_result(dtype) -> None:
    layer, inputs = make_layer(0.0), batch([4, 12, 1], [0, 1, 2])
    compiled = torch.compile(layer, fullgraph=True)
    found = step(compiled, layer, dtype, *inputs)
    assert_near(found, step(layer, layer, dtype, *inputs), TOLERANCE[dtype])


def test_other_batches_are_not_compiled_again() -> None:
    layer = make_layer(0.1)
    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for length in range(2, 22):
        texts = [length, 1, 3, 2][: 2 + length % 3]
        inputs = batch(texts, [1, 2, -1, 0][: len(texts)])  # the first is the longest
        step(compiled, layer, torch.float32, *inputs)
    # Once with sizes taken for constants, then with sizes that vary.
    assert counter.frame_count <= 2
