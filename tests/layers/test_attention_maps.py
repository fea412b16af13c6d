"""Weights that layers do not keep: they give the layers' own output, and change none of it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import vlp_fast
from vlp_fast.layers.attention import CrossAttention, GridAttention
from vlp_fast.layers.attention_maps import Maps, attention_maps, attention_weights
from vlp_fast.layers.projections import MultiHeadProjections
from vlp_fast.layers.transformer import Decoder, DecoderLayer, LayerConfig, make_encoder
from vlp_fast.ops.packing import make_packing, uniform_packing

WIDTH, HEADS, HEAD_DIM = 12, 3, 5
CONFIG = LayerConfig(width=WIDTH, num_heads=HEADS, head_dim=HEAD_DIM, ffn_dim=16, dropout=0.0)
DTYPES = [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 3e-2)]


def made(kind: type[MultiHeadProjections], dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    layer = kind(WIDTH, HEADS, HEAD_DIM)
    for bias in (layer.in_proj_bias, layer.out_proj.bias):
        nn.init.normal_(bias)
    return layer.to(dtype).eval()


def rows(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    drawn = torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))
    return (2 * drawn).to(dtype)


def mixed(layer: nn.Module, weights: Tensor, memory: Tensor) -> Tensor:
    """What a layer makes of weights (N, Lq, Lk) and the rows (Lk, D) that values are made of."""
    inner = HEADS * HEAD_DIM
    wide = torch.float64
    weight, bias = (p[2 * inner :].to(wide) for p in (layer.in_proj_weight, layer.in_proj_bias))
    values = (memory.to(wide) @ weight.T + bias).view(-1, HEADS, HEAD_DIM)
    out = torch.einsum("nij,jne->ine", weights.to(wide), values).flatten(1)
    return out @ layer.out_proj.weight.to(wide).T + layer.out_proj.bias.to(wide)


def recorded(layer: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """A layer's output and the map of its one call; the output is as without a map."""
    before = run()
    with attention_maps(layer) as maps:
        out = run()
    assert torch.equal(out, before)
    assert torch.equal(run(), before)
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    (weights,) = maps[""]
    assert not weights.requires_grad
    return out, weights


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("causal", [False, True])
def test_packed_maps_give_the_layers_own_output(
    dtype: torch.dtype, tolerance: float, causal: bool
) -> None:
    layer, lengths = made(GridAttention, dtype), (4, 1, 7)
    x, places = (rows(12, dtype=dtype, seed=seed) for seed in (1, 2))
    packing = make_packing(lengths, [-1] * 3, None)
    out, weights = recorded(layer, lambda: layer(x, packing, positions=places, causal=causal))
    assert weights.shape == (3, HEADS, 7, 7)
    assert weights.dtype == torch.promote_types(dtype, torch.float32)
    for part, of, got, n in zip(
        x.split(lengths), weights, out.split(lengths), lengths, strict=True
    ):
        torch.testing.assert_close(
            mixed(layer, of[:, :n, :n], part), got.double(), atol=tolerance, rtol=tolerance
        )
        ones = torch.ones(HEADS, n, dtype=of.dtype)
        torch.testing.assert_close(of[:, :n].sum(-1), ones, atol=1e-6, rtol=0)
        assert not of[:, n:].any()
        assert not of[:, :, n:].any()
        above = torch.ones(n, n, dtype=torch.bool).triu(1)
        assert bool(of[:, :n, :n][:, above].any()) == (not causal and n > 1)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES[:2])
def test_maps_of_a_memory_of_other_lengths(dtype: torch.dtype, tolerance: float) -> None:
    layer, asking, answering = made(CrossAttention, dtype), (2, 3, 1), (5, 0, 2)
    x, memory = rows(6, dtype=dtype), rows(7, dtype=dtype, seed=2)
    asking_of = make_packing(asking, [-1] * 3, None)
    bounds = torch.tensor([0, 5, 5, 7], dtype=torch.int32)

    class Answers:
        cu_seqlens, num_rows, max_length, longest_first = bounds, 7, 6, None

    out, weights = recorded(layer, lambda: layer(x, memory, asking_of, Answers()))
    assert weights.shape == (3, HEADS, 3, 6)
    parts = zip(memory.split(answering), weights, out.split(asking), asking, strict=True)
    for part, of, got, n in parts:
        expected = mixed(layer, of[:, :n, : len(part)], part)
        torch.testing.assert_close(expected, got.double(), atol=tolerance, rtol=tolerance)
        assert not of[:, n:].any()
        assert not of[:, :, len(part) :].any()
    assert not weights[1].any(), "who sees no key has no weights, and none that is no number"


def masks(*lengths: int) -> Tensor:
    """Padding anywhere: (S, L) bool with so many rows left."""
    longest = max(lengths) + 2
    generator = torch.Generator().manual_seed(5)
    return torch.stack([torch.randperm(longest, generator=generator) >= n for n in lengths])


@pytest.mark.parametrize("causal", [False, True])
def test_padded_maps_have_the_order_of_the_rows(causal: bool) -> None:
    layer, is_padding = made(GridAttention), masks(5, 2, 1)
    x = rows(3, 7).masked_fill(is_padding[..., None], torch.nan)
    out, weights = recorded(layer, lambda: layer(x, key_padding_mask=is_padding, causal=causal))
    assert weights.shape == (3, HEADS, 7, 7)
    for part, of, got, padding in zip(x, weights, out, is_padding, strict=True):
        assert not of[:, padding].any()
        assert not of[:, :, padding].any()
        expected = mixed(layer, of, part.nan_to_num())[~padding]
        torch.testing.assert_close(expected, got[~padding])


def test_padded_maps_of_a_memory() -> None:
    layer, of_queries, of_keys = made(CrossAttention), masks(2, 3), masks(4, 1)
    x, memory = rows(2, 5), rows(2, 6, seed=2)
    out, weights = recorded(
        layer,
        lambda: layer(x, memory, key_padding_mask=of_keys, query_padding_mask=of_queries),
    )
    for part, of, got, no_query, no_key in zip(
        memory, weights, out, of_queries, of_keys, strict=True
    ):
        torch.testing.assert_close(mixed(layer, of, part)[~no_query], got[~no_query])
        assert not of[:, no_query].any()
        assert not of[:, :, no_key].any()
        assert (of[:, ~no_query][:, :, ~no_key] > 0).all()


def test_without_masks_all_rows_count() -> None:
    layer, x = made(GridAttention), rows(2, 4)
    out, weights = recorded(layer, lambda: layer(x))
    for part, of, got in zip(x, weights, out, strict=True):
        torch.testing.assert_close(mixed(layer, of, part), got)


# Models


def run_decoder() -> tuple[nn.Module, Callable[[], Tensor]]:
    torch.manual_seed(1)
    decoder = Decoder([DecoderLayer(CONFIG) for _ in range(2)], nn.LayerNorm(WIDTH)).eval()
    memory, x = rows(9, dtype=torch.float32), rows(4, dtype=torch.float32, seed=2)
    of_x, of_memory = uniform_packing(1, 4), uniform_packing(1, 9)
    return decoder, lambda: decoder(x, of_x, memory, of_memory, causal=True)


def test_each_layer_of_a_decoder_has_its_name() -> None:
    decoder, run = run_decoder()
    with attention_maps(decoder) as maps:
        run()
        run()
    names = [f"layers.{n}.{kind}_attention" for n in range(2) for kind in ("self", "cross")]
    assert list(maps) == names
    for name, (first, again) in maps.items():
        assert first.shape == (1, HEADS, 4, 9 if "cross" in name else 4)
        assert torch.equal(first, again)
    assert not torch.equal(maps[names[1]][0], maps[names[3]][0])


def test_gradients_are_the_same_bits() -> None:
    encoder, x, packing = (
        make_encoder(CONFIG, 2),
        rows(6, dtype=torch.float32),
        uniform_packing(2, 3),
    )

    def gradients() -> list[Tensor]:
        loss = encoder(x, packing).square().sum()
        return list(torch.autograd.grad(loss, list(encoder.parameters())))

    before = gradients()
    with attention_maps(encoder) as maps:
        during = gradients()
    assert all(map(torch.equal, before, during))
    assert [len(of) for of in maps.values()] == [1, 1]


def test_autocast_does_not_round_them() -> None:
    layer, x, packing = made(GridAttention, torch.float32), rows(6).float(), uniform_packing(1, 6)
    with torch.autocast("cpu", torch.bfloat16), attention_maps(layer) as maps:
        layer(x, packing)
    (weights,) = maps[""]
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, HEADS, 6), atol=1e-6, rtol=0)
    exact = plain(layer, x, packing)
    assert not torch.equal(weights, exact), "queries and keys are the rounded ones"
    torch.testing.assert_close(weights, exact, atol=3e-2, rtol=0)
    q, bounds = torch.randn(6, 2, 4), torch.tensor([0, 6], dtype=torch.int32)
    options = {"max_seqlen_q": 6, "max_seqlen_k": 6}
    expected = attention_weights(q, q, bounds, bounds, **options)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attention_weights(q, q, bounds, bounds, **options), expected)


def plain(layer: nn.Module, x: Tensor, packing: object) -> Tensor:
    with attention_maps(layer) as maps:
        layer(x, packing)
    return maps[""][0]


def test_compiled_models_have_maps_and_stay_compiled() -> None:
    encoder, x, packing = make_encoder(CONFIG, 1).eval(), rows(6).float(), uniform_packing(2, 3)
    runs = 0

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        def run(*given: object) -> object:
            nonlocal runs
            runs += 1
            return graph(*given)

        return run

    compiled = torch.compile(encoder, backend=backend)
    with torch.no_grad():
        compiled(x, packing)
        before = runs
        with attention_maps(encoder) as maps:
            compiled(x, packing)
        assert before > 0
        assert runs == before
        compiled(x, packing)
        assert runs == 2 * before
    expected = maps_of(encoder, x, packing)
    assert [len(of) for of in maps.values()] == [1]
    torch.testing.assert_close(maps, expected)


def maps_of(module: nn.Module, *given: object) -> Maps:
    with torch.no_grad(), attention_maps(module) as maps:
        module(*given)
    return maps


def test_an_error_inside_leaves_nothing_behind() -> None:
    layer, packing = made(GridAttention), uniform_packing(1, 6)
    with pytest.raises(ValueError, match="received 5 rows"), attention_maps(layer):
        layer(rows(5), packing)
    assert not layer._forward_hooks
    assert layer(rows(6), packing).shape == (6, WIDTH)


def test_what_has_no_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="received Linear, which has no GridAttention"):
        vlp_fast.attention_maps(nn.Linear(2, 2)).__enter__()


def test_nothing_of_a_neighbour_reaches_a_map() -> None:
    q, k = (torch.randn(5, 2, 4) for _ in range(2))
    bounds = torch.tensor([0, 2, 5], dtype=torch.int32)
    options = {"max_seqlen_q": 3, "max_seqlen_k": 4}
    expected = attention_weights(q, k, bounds, bounds, **options)
    q[:2], k[:2] = torch.nan, torch.inf
    assert torch.equal(attention_weights(q, k, bounds, bounds, **options)[1], expected[1])
    none = attention_weights(
        q[:0], k[:0], torch.zeros_like(bounds), torch.zeros_like(bounds), **options
    )
    assert none.shape == (2, 2, 3, 4)
    assert not none.any()
