"""Layers tell shapes on the meta device, and run on others whatever the default device is."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlp_fast import HungarianMatcher, SetCriterion, ops
from vlp_fast.layers.attention import CrossAttention, GridAttention
from vlp_fast.layers.backbone import resnet
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.transformer import Decoder, DecoderLayer, LayerConfig, make_encoder

WIDTH = 16


@pytest.mark.parametrize("norm_first", [False, True])
def test_layers_and_their_backward_passes(norm_first: bool) -> None:
    config = LayerConfig(width=WIDTH, num_heads=2, ffn_dim=24, norm_first=norm_first)
    with torch.device("meta"):
        grid = ops.make_grid([(2, 3), (1, 2)], (2, 3))
        packing, asking = ops.make_packing([2, 1], [0, 1], grid), ops.uniform_packing(2, 4)
        grid, packing, asking = (record.to("meta") for record in (grid, packing, asking))
        encoder, decoder = make_encoder(config, 2), Decoder([DecoderLayer(config)], nn.Identity())
        x = torch.randn(packing.num_rows, WIDTH, requires_grad=True)
        memory = encoder(x, packing, SinePosition(WIDTH).on_rows(grid, packing))
        out = decoder(torch.randn(8, WIDTH), asking, memory, packing, causal=True)
    out.sum().backward()
    assert (memory.shape, out.shape) == (x.shape, (1, 8, WIDTH))
    assert (x.grad.shape, x.grad.device.type) == (x.shape, "meta")


def test_padded_attention() -> None:
    with torch.device("meta"):
        x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH)
        of_x, of_memory = (torch.zeros(one.shape[:2], dtype=torch.bool) for one in (x, memory))
        around, beyond = GridAttention(WIDTH, 2), CrossAttention(WIDTH, 2)
        found = [
            around(x),
            around(x, key_padding_mask=of_x),
            beyond(x, memory),
            beyond(x, memory, key_padding_mask=of_memory, query_padding_mask=of_x),
        ]
    assert {(one.shape, one.device.type) for one in found} == {(x.shape, "meta")}


def outputs_and_targets() -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    outputs = {"pred_logits": torch.randn(2, 7, 5), "pred_boxes": torch.rand(2, 7, 4)}
    boxes = torch.rand(3, 4) * 0.5 + 0.1
    return outputs, [{"labels": torch.zeros(3, dtype=torch.int64), "boxes": boxes}] * 2


def test_matching() -> None:
    criterion = SetCriterion(4, HungarianMatcher(), {}, 0.1, ["labels", "boxes", "cardinality"])
    with torch.device("meta"):
        outputs, targets = outputs_and_targets()
        losses = criterion.to("meta")(outputs, targets)
        pairs = criterion.matcher(outputs, targets)
        costs = torch.randn(2, 3, 5)
        found = [*ops.linear_sum_assignment(costs), *ops.linear_sum_assignment(costs[0])]
    assert {value.shape for value in losses.values()} == {()}
    assert [x.shape for pair in pairs for x in pair] == [(3,)] * 4
    assert [x.shape for x in found] == [(2, 3), (2, 3), (3,), (3,)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operands_on_the_cpu_under_other_defaults(dtype: torch.dtype) -> None:
    """The default device and dtype are those of what a user makes, not of what a layer needs."""
    config = LayerConfig(width=WIDTH, num_heads=2, ffn_dim=24, dropout=0.0)
    encoder, around, maps = (
        make_encoder(config, 1),
        GridAttention(WIDTH, 2),
        resnet(18, remask=True).eval(),
    )
    criterion = SetCriterion(4, HungarianMatcher(), {}, 0.1, ["labels", "boxes", "cardinality"])
    grid = ops.make_grid([(2, 3), (1, 2)], (2, 3))
    packing = ops.make_packing([2, 1], [0, 1], grid)
    x, padded, images = torch.randn(11, WIDTH), torch.randn(2, 5, WIDTH), torch.rand(2, 3, 32, 40)
    is_padding, outputs = torch.arange(5) >= torch.tensor([[3], [5]]), outputs_and_targets()

    def run() -> list[Tensor]:
        sine = SinePosition(WIDTH)
        text = sine.on_rows(None, ops.uniform_packing(2, 3)).table
        losses = criterion(*outputs)
        return [
            text,
            encoder(x, packing, sine.on_rows(grid, packing)),
            around(padded, key_padding_mask=is_padding, causal=True),
            maps(images, [(32, 40), (20, 33)]),
            losses["loss_ce"],
            losses["loss_giou"],
        ]

    expected = run()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            found = run()
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found, expected)
