"""Layers that are compiled are so in training alone, and stay so when a step is looked at."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vlp_fast.layers.compilation import compile_layers
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.transformer import LayerConfig, make_encoder
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_a_step_that_is_looked_at_is_not_compiled_and_those_behind_it_are() -> None:
    calls: list[None] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Any:
        return lambda *values: calls.append(None) or graph.forward(*values)

    grid = make_grid([(2, 3), (1, 2)], (2, 3))
    packing = make_packing([4, 2], [0, 1], grid)
    rows = torch.randn(packing.num_rows, 16)
    encoder = make_encoder(LayerConfig(width=16, num_heads=2, ffn_dim=24), 2)
    compile_layers(encoder, backend)

    def graphs() -> int:
        calls.clear()
        encoder(rows, packing, SinePosition(16).on_rows(grid, packing))
        return len(calls)

    with FlopCounterMode(display=False):
        assert graphs() == 0
    assert graphs() == 2
    with FlopCounterMode(display=False):
        assert graphs() == 0
    assert graphs() == 2
    with torch.no_grad():
        assert graphs() == 0
    encoder.eval()
    assert graphs() == 0
