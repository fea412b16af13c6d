"""Encoder and decoder layers against torch.nn's, and against DETR's order."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.projections import MultiHeadProjections
from vlp_fast.layers.transformer import (
    Activation,
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    LayerConfig,
    make_encoder,
)
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import Packing, make_packing

WIDTH, HEADS, HEAD_DIM, FFN = 12, 3, 4, 20
CONFIG = LayerConfig(width=WIDTH, num_heads=HEADS, head_dim=HEAD_DIM, ffn_dim=FFN, dropout=0.0)


def random_rows(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, dtype=torch.float64, generator=generator).requires_grad_()


def randomised(module: nn.Module) -> nn.Module:
    """Moves every parameter off its start, so that swapped norms and biases show."""
    torch.manual_seed(0)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return module


def copy_attention(source: MultiHeadProjections, target: nn.MultiheadAttention) -> None:
    target.load_state_dict(source.state_dict())


def copy_rest(source: nn.Module, target: nn.Module) -> None:
    for name in ("linear1", "linear2"):
        getattr(target, name).load_state_dict(getattr(source.ffn, name).state_dict())
    for name in ("norm1", "norm2", "norm3"):
        if hasattr(target, name):
            getattr(target, name).load_state_dict(getattr(source, name).state_dict())


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer_equals_torch(norm_first: bool, activation: Activation) -> None:
    config = replace(CONFIG, head_dim=None, activation=activation, norm_first=norm_first, eps=1e-3)
    layer = randomised(EncoderLayer(config))
    other = nn.TransformerEncoderLayer(
        WIDTH,
        HEADS,
        FFN,
        dropout=0.0,
        activation=activation,
        norm_first=norm_first,
        layer_norm_eps=1e-3,
    ).double()
    with torch.no_grad():
        copy_attention(layer.attention, other.self_attn)
        copy_rest(layer, other)
    packing = make_packing([5, 2], [-1, -1], None)
    x = random_rows(7)

    got = layer(x, packing)
    expected = torch.cat([other(rows) for rows in x.split(packing.lengths)])

    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    got_x, *got_rest = torch.autograd.grad((got * weights).sum(), [x, *layer.ffn.parameters()])
    leaves = [x, *other.linear1.parameters(), *other.linear2.parameters()]
    want_x, *want_rest = torch.autograd.grad((expected * weights).sum(), leaves)
    torch.testing.assert_close(got_x, want_x)
    torch.testing.assert_close(got_rest, want_rest)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
def test_decoder_layer_equals_torch(norm_first: bool, causal: bool) -> None:
    layer = randomised(DecoderLayer(replace(CONFIG, head_dim=None, norm_first=norm_first)))
    other = nn.TransformerDecoderLayer(
        WIDTH, HEADS, FFN, dropout=0.0, norm_first=norm_first
    ).double()
    with torch.no_grad():
        copy_attention(layer.self_attention, other.self_attn)
        copy_attention(layer.cross_attention, other.multihead_attn)
        copy_rest(layer, other)
    packing, memory_packing = (
        make_packing([5, 2], [-1] * 2, None),
        make_packing([3, 4], [-1] * 2, None),
    )
    x, memory = random_rows(7), random_rows(7, seed=2)

    got = layer(x, packing, memory, memory_packing, causal=causal)
    expected = torch.cat(
        [
            other(rows, remembered, tgt_mask=causal_mask(len(rows)) if causal else None)
            for rows, remembered in zip(x.split([5, 2]), memory.split([3, 4]), strict=True)
        ]
    )

    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    got_grads = torch.autograd.grad((got * weights).sum(), [x, memory, *layer.ffn.parameters()])
    leaves = [x, memory, *other.linear1.parameters(), *other.linear2.parameters()]
    torch.testing.assert_close(got_grads, torch.autograd.grad((expected * weights).sum(), leaves))


def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def mixed(attention: MultiHeadProjections, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of one sequence by torch, which takes q, k and v apart."""
    other = nn.MultiheadAttention(WIDTH, HEADS).double()
    with torch.no_grad():
        copy_attention(attention, other)
    return other(q, k, v)[0]


def test_positions_follow_detr_in_every_encoder_layer() -> None:
    layers = [randomised(EncoderLayer(CONFIG)) for _ in range(2)]
    randomised(layers[1].norm1)
    packing = make_packing([6], [-1], None)
    x, positions = random_rows(6), random_rows(6, seed=2)

    expected = x
    for layer in layers:
        q = expected + positions
        expected = layer.norm1(expected + mixed(layer.attention, q, q, expected))
        expected = layer.norm2(expected + layer.ffn(expected))

    torch.testing.assert_close(Encoder(layers)(x, packing, positions), expected)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_encoders_of_half_precision_take_a_sine(dtype: torch.dtype, norm_first: bool) -> None:
    grid = make_grid([(2, 3), (1, 2)], (2, 3))
    packing = make_packing([4, 2], [0, 1], grid)
    positions = SinePosition(WIDTH).on_rows(grid, packing)
    encoder = make_encoder(replace(CONFIG, norm_first=norm_first), 2)
    x = torch.randn(packing.num_rows, WIDTH)
    expected = encoder(x, packing, positions)

    rows = x.to(dtype).requires_grad_()
    got = encoder.to(dtype)(rows, packing, positions)

    assert got.dtype == dtype
    tolerance = 32 * torch.finfo(dtype).eps
    torch.testing.assert_close(got.float(), expected, atol=tolerance, rtol=tolerance)
    (grad,) = torch.autograd.grad(got.sum(), rows)
    assert grad.dtype == dtype
    assert grad.isfinite().all()


def test_positions_follow_detr_in_a_pre_norm_encoder() -> None:
    layer = randomised(EncoderLayer(replace(CONFIG, norm_first=True)))
    norm = randomised(nn.LayerNorm(WIDTH))
    packing = make_packing([6], [-1], None)
    x, positions = random_rows(6), random_rows(6, seed=2)

    normed = layer.norm1(x)
    expected = x + mixed(layer.attention, normed + positions, normed + positions, normed)
    expected = norm(expected + layer.ffn(layer.norm2(expected)))

    torch.testing.assert_close(Encoder([layer], norm)(x, packing, positions), expected)


def test_positions_follow_detr_in_every_decoder_layer() -> None:
    decoder = small_decoder(norm_first=False)
    packing, memory_packing = make_packing([4], [-1], None), make_packing([6], [-1], None)
    queries, memory = random_rows(4), random_rows(6, seed=2)
    memory_positions = random_rows(6, seed=3)

    x, expected = torch.zeros_like(queries), []
    for layer in decoder.layers:
        q = x + queries
        x = layer.norm1(x + mixed(layer.self_attention, q, q, x))
        attended = mixed(layer.cross_attention, x + queries, memory + memory_positions, memory)
        x = layer.norm2(x + attended)
        x = layer.norm3(x + layer.ffn(x))
        expected.append(decoder.norm(x))

    got = decoder(
        torch.zeros_like(queries),
        packing,
        memory,
        memory_packing,
        query_positions=queries,
        memory_positions=memory_positions,
    )
    torch.testing.assert_close(got, torch.stack(expected))


def small_decoder(*, norm_first: bool) -> Decoder:
    layers = [DecoderLayer(replace(CONFIG, norm_first=norm_first)) for _ in range(3)]
    decoder = randomised(Decoder(layers, nn.LayerNorm(WIDTH)))
    assert isinstance(decoder, Decoder)
    return decoder


def test_causal_rows_do_not_see_later_rows() -> None:
    decoder = small_decoder(norm_first=False)
    packing, memory_packing = (
        make_packing([4, 3], [-1] * 2, None),
        make_packing([2, 2], [-1] * 2, None),
    )
    x, memory = random_rows(7), random_rows(4, seed=2)
    out = decoder(x, packing, memory, memory_packing, causal=True)
    (grad,) = torch.autograd.grad(out[:, 2].sum(), x)
    assert (grad[3:] == 0).all()
    assert (grad[:3] != 0).any(dim=1).all()


def sequence_rows(packing: Packing, sequence: int) -> slice:
    start = packing.starts[sequence]
    return slice(start, start + packing.lengths[sequence])


def test_a_sequence_does_not_depend_on_the_others() -> None:
    encoder = Encoder([randomised(EncoderLayer(replace(CONFIG, head_dim=5)))])
    packing = make_packing([4, 3, 9], [-1] * 3, None)
    x = random_rows(16)
    rows = sequence_rows(packing, 1)
    alone = encoder(x[rows], make_packing([3], [-1], None))
    torch.testing.assert_close(encoder(x, packing)[rows], alone)


def test_dimensions_do_not_depend_on_each_other() -> None:
    layer = EncoderLayer(LayerConfig(width=10, num_heads=3, head_dim=7, ffn_dim=11))
    assert layer.attention.in_proj_weight.shape == (3 * 21, 10)
    assert layer.ffn.linear1.weight.shape == (11, 10)
    assert layer(torch.randn(4, 10), make_packing([4], [-1], None)).shape == (4, 10)


def test_dropout_works_in_training_only() -> None:
    layer = EncoderLayer(replace(CONFIG, dropout=0.5))
    packing, x = make_packing([6], [-1], None), torch.randn(6, WIDTH)
    assert not torch.equal(layer(x, packing), layer(x, packing))
    layer.eval()
    assert torch.equal(layer(x, packing), layer(x, packing))


class ShiftedNorm(nn.LayerNorm):
    """A norm of somebody else's."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(
    "norm",
    [
        nn.LayerNorm(WIDTH, elementwise_affine=False),
        nn.LayerNorm(WIDTH, bias=False),
        nn.RMSNorm(WIDTH),
        ShiftedNorm(WIDTH),
    ],
    ids=["no weight", "no bias", "RMS", "subclass"],
)
def test_norms_can_be_exchanged(norm: nn.Module, norm_first: bool) -> None:
    layer = randomised(EncoderLayer(replace(CONFIG, norm_first=norm_first)))
    layer.norm1 = layer.norm2 = norm = randomised(norm)
    x, packing = random_rows(6), make_packing([6], [-1], None)

    if norm_first:
        summed = x + layer.attention(norm(x), packing)
        expected = summed + layer.ffn(norm(summed))
    else:
        expected = norm(x + layer.attention(x, packing))
        expected = norm(expected + layer.ffn(expected))

    torch.testing.assert_close(layer(x, packing), expected)


def test_only_a_pre_norm_encoder_ends_with_a_norm() -> None:
    assert make_encoder(CONFIG, 2).norm is None
    encoder = make_encoder(replace(CONFIG, norm_first=True, eps=1e-3), 2)
    assert isinstance(encoder.norm, nn.LayerNorm)
    assert [len(encoder.layers), encoder.norm.eps] == [2, 1e-3]
    assert {layer.norm1.eps for layer in encoder.layers} == {1e-3}


def test_matrices_start_xavier_uniform() -> None:
    torch.manual_seed(0)
    layer = DecoderLayer(LayerConfig(width=64, num_heads=4, head_dim=32, ffn_dim=256))
    attentions = (layer.self_attention, layer.cross_attention)
    linears = (layer.ffn.linear1, layer.ffn.linear2, *(a.out_proj for a in attentions))
    for matrix in (*(a.in_proj_weight for a in attentions), *(x.weight for x in linears)):
        bound = (6 / sum(matrix.shape)) ** 0.5
        assert matrix.abs().max() <= bound
        assert matrix.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_queries_keys_and_values_start_as_in_torch() -> None:
    layer = DecoderLayer(replace(CONFIG, width=64, num_heads=4, head_dim=None))
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(64, 4).in_proj_weight
    for ours in (layer.self_attention, layer.cross_attention):
        assert ours.in_proj_weight.shape == theirs.shape
        assert ours.in_proj_weight.std().item() == pytest.approx(theirs.std().item(), rel=0.05)


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"received activation 'tanh'"):
        FeedForward(4, 4, activation="tanh", dropout=0.0)  # type: ignore[arg-type]
