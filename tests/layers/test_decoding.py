"""Step-wise decoding against the causal pass over whole texts."""

import pytest
import torch
from torch import Tensor, nn

from vlp_fast.layers.decoding import decode_step, start_decoding
from vlp_fast.layers.sequences import Spans
from vlp_fast.layers.transformer import Decoder, DecoderLayer, LayerConfig
from vlp_fast.ops.packing import make_packing

WIDTH, TEXTS, LENGTH = 12, 3, 5
MEMORY = make_packing([3, 1, 4], [-1] * TEXTS, None)


def small_decoder(*, norm_first: bool = False, dropout: float = 0.0) -> Decoder:
    """Three layers whose parameters are off their start, so that swapped ones show."""
    torch.manual_seed(0)
    config = LayerConfig(
        width=WIDTH, num_heads=3, head_dim=4, ffn_dim=20, dropout=dropout, norm_first=norm_first
    )
    decoder = Decoder([DecoderLayer(config) for _ in range(3)], nn.LayerNorm(WIDTH)).double()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return decoder


def random_rows(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, dtype=torch.float64, generator=generator).requires_grad_()


def whole_pass(decoder: Decoder, x: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
    """The last layer's rows (S, L, D) of texts (S * L, D), all tokens at once."""
    spans = Spans.uniform(TEXTS, LENGTH, x.device)
    layers: Tensor = decoder(x, spans, memory, MEMORY, memory_positions=positions, causal=True)
    return layers[-1].view(TEXTS, LENGTH, WIDTH)


def step_by_step(decoder: Decoder, x: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
    """The same, one token of every text after the other."""
    state = start_decoding(
        decoder, memory, MEMORY, max_length=LENGTH + 2, memory_positions=positions
    )
    tokens = x.view(TEXTS, LENGTH, WIDTH).unbind(1)
    return torch.stack([decode_step(decoder, row, state, i) for i, row in enumerate(tokens)], 1)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Texts, memory and its positions."""
    return random_rows(TEXTS * LENGTH, seed=3), random_rows(8), random_rows(8, seed=2)


@pytest.mark.parametrize("norm_first", [False, True])
def test_step_by_step_equals_the_causal_pass(norm_first: bool) -> None:
    decoder = small_decoder(norm_first=norm_first)
    got = step_by_step(decoder, *inputs())
    torch.testing.assert_close(got, whole_pass(decoder, *inputs()).detach())
    assert not got.requires_grad
