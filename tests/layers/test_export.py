"""`torch.export` keeps the number of sequences, their length and the rows of all of them free."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from vlp_fast.layers.attention import CrossAttention, GridAttention
from vlp_fast.layers.positions import TablePositions
from vlp_fast.layers.sequences import Spans
from vlp_fast.layers.transformer import DecoderLayer, LayerConfig, make_encoder

WIDTH = 16
CONFIG = LayerConfig(width=WIDTH, num_heads=2, ffn_dim=24)


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = GridAttention(WIDTH, 2)

    def forward(self, x: Tensor, positions: Tensor, is_padding: Tensor) -> Tensor:
        plain = self.attention(x, causal=True)
        masked: Tensor = self.attention(plain, positions=positions, key_padding_mask=is_padding)
        return masked

    def inputs(self, sequences: int, length: int) -> tuple[Tensor, ...]:
        x, positions = torch.randn(sequences, length, WIDTH), torch.randn(length, WIDTH)
        return x, positions, torch.rand(sequences, length) < 0.3


class Beyond(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = CrossAttention(WIDTH, 2)

    def forward(self, x: Tensor, memory: Tensor, is_padding: Tensor) -> Tensor:
        plain = self.attention(x, memory)
        masked: Tensor = self.attention(plain, memory, key_padding_mask=is_padding)
        return masked

    def inputs(self, sequences: int, length: int) -> tuple[Tensor, ...]:
        x, memory = torch.randn(sequences, length, WIDTH), torch.randn(sequences, 3 * length, WIDTH)
        return x, memory, torch.rand(sequences, 3 * length) < 0.3


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.layer = make_encoder(CONFIG, 1), DecoderLayer(CONFIG)

    def forward(self, x: Tensor, cu_seqlens: Tensor, table: Tensor, indices: Tensor) -> Tensor:
        spans = Spans(cu_seqlens=cu_seqlens, num_rows=x.shape[0], max_length=40)
        memory = self.encoder(x, spans, TablePositions(table=table, indices=indices))
        out: Tensor = self.layer(x, spans, memory, spans, causal=True)
        return out

    def inputs(self, sequences: int, length: int) -> tuple[Tensor, ...]:
        bounds = torch.arange(sequences + 1, dtype=torch.int32) * length
        count = sequences * length
        indices = torch.randint(-1, count + 2, (count, 2), dtype=torch.int32)
        return torch.randn(count, WIDTH), bounds, torch.randn(count + 2, WIDTH), indices


@pytest.mark.parametrize("free", [Dim.AUTO, Dim.DYNAMIC], ids=["auto", "dynamic"])
@pytest.mark.parametrize("make", [Around, Beyond, Layers])
def test_other_batches_than_that_of_the_example(make: Callable[[], nn.Module], free: Dim) -> None:
    """AUTO fixes in silence what the code takes for a constant, DYNAMIC says so."""
    torch.manual_seed(0)
    module = make().eval()
    example = module.inputs(2, 5)
    shapes = tuple(
        {0: free, 1: free} if x.shape[1:] not in ((WIDTH,), (2,), ()) else {0: free}
        for x in example
    )
    program = export(module, example, dynamic_shapes=shapes).module()
    for sequences, length in ((3, 7), (7, 2), (2, 5)):
        inputs = module.inputs(sequences, length)
        torch.testing.assert_close(program(*inputs), module(*inputs))
