"""Every place of dropout is on in training, each alone, and off in evaluation."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlp_fast.layers import attention, projections
from vlp_fast.layers.attention import CrossAttention, GridAttention
from vlp_fast.layers.transformer import DecoderLayer, EncoderLayer, LayerConfig
from vlp_fast.ops.packing import make_packing

WIDTH = 12
CONFIG = LayerConfig(width=WIDTH, num_heads=3, head_dim=4, ffn_dim=20, dropout=0.5)
PACKING, MEMORY = make_packing([2, 5], [-1, -1], None), make_packing([3, 6], [-1, -1], None)
X, Y = torch.randn(2, 9, WIDTH, generator=torch.Generator().manual_seed(0))
X = X[:7]

PLACES = ["attention", "hidden", "attended", "fed forward"]


def only(place: str, *, norm_first: bool = False) -> EncoderLayer:
    """An encoder layer whose dropout is on in one place: rates elsewhere are 0.

    Residuals share one rate, so the block of the other residual is made to give zeros.
    """
    torch.manual_seed(0)
    layer = EncoderLayer(replace(CONFIG, norm_first=norm_first))
    if place != "attention":
        layer.attention.dropout = 0.0
    if place != "hidden":
        layer.ffn.dropout.p = 0.0
    if place not in ("attended", "fed forward"):
        layer.dropout = 0.0
    if place == "attended":
        silence(layer.ffn.linear2)
    if place == "fed forward":
        silence(layer.attention.out_proj)
    return layer


def silence(linear: nn.Linear) -> None:
    """Makes a layer give zeros, which dropout leaves."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)


def quiet(layer: EncoderLayer) -> Tensor:
    """What a layer gives with every rate at 0."""
    layer.attention.dropout = layer.ffn.dropout.p = layer.dropout = 0.0
    out: Tensor = layer(X, PACKING)
    return out


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_each_place_drops_in_training_only(place: str, norm_first: bool) -> None:
    layer = only(place, norm_first=norm_first)
    assert not torch.equal(layer(X, PACKING), layer(X, PACKING))
    layer.eval()
    in_evaluation = layer(X, PACKING)
    assert torch.equal(in_evaluation, layer(X, PACKING))
    torch.testing.assert_close(in_evaluation, quiet(layer.train()))


def test_cross_attention_drops_weights_in_training_only() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(WIDTH, 3, dropout=0.5)
    assert not torch.equal(layer(X, Y, PACKING, MEMORY), layer(X, Y, PACKING, MEMORY))
    layer.eval()
    in_evaluation = layer(X, Y, PACKING, MEMORY)
    layer.train().dropout = 0.0
    torch.testing.assert_close(in_evaluation, layer(X, Y, PACKING, MEMORY))


def test_the_configured_rate_reaches_every_place() -> None:
    layer = DecoderLayer(replace(CONFIG, dropout=0.3))
    parts = (layer, layer.self_attention, layer.cross_attention)
    assert [*(part.dropout for part in parts), layer.ffn.dropout.p] == [0.3] * 4


def test_the_feed_forward_network_has_the_rate_of_the_layer_unless_it_has_its_own() -> None:
    """DETR's has the layer's, BERT's none."""
    assert EncoderLayer(replace(CONFIG, dropout=0.3)).ffn.dropout.p == 0.3
    own = EncoderLayer(replace(CONFIG, dropout=0.3, ffn_dropout=0.0))
    assert (own.ffn.dropout.p, own.dropout, own.attention.dropout) == (0.0, 0.3, 0.3)


def test_an_exchanged_norm_keeps_dropout() -> None:
    layer = only("attended")
    layer.norm1 = nn.LayerNorm(WIDTH, elementwise_affine=False)
    assert not torch.equal(layer(X, PACKING), layer(X, PACKING))
    layer.eval()
    assert torch.equal(layer(X, PACKING), layer(X, PACKING))


@pytest.mark.parametrize(
    ("module", "operator"),
    [(attention, "attention_qkvpacked"), (projections, "attention_kvpacked")],
)
def test_sequences_begin_in_the_order_of_the_packing(
    module: Any, operator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order changes speed alone, so the operator is watched."""
    original, seen = getattr(module, operator), []

    def watched(*args: Any, **options: Any) -> Tensor:
        seen.append(options["order"])
        out: Tensor = original(*args, **options)
        return out

    monkeypatch.setattr(module, operator, watched)
    if operator == "attention_qkvpacked":
        GridAttention(WIDTH, 3)(X, PACKING)
        assert [order is PACKING.longest_first for order in seen] == [True]
    else:
        CrossAttention(WIDTH, 3)(X, Y, PACKING, MEMORY)
        assert [order is MEMORY.longest_first for order in seen] == [True]
