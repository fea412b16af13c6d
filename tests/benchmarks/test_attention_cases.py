"""Batches of pictures, the ways to attend to them, and DETR's layers, against each other."""

import torch
from torch import Tensor

from vlp_fast.benchmarks import attention_ways as ways
from vlp_fast.benchmarks.attention import cases
from vlp_fast.benchmarks.attention_layers import CONFIG
from vlp_fast.benchmarks.case import Setting
from vlp_fast.benchmarks.coco_mix import ASPECTS, E2E_VLP, SOHO, draw_mix
from vlp_fast.benchmarks.encoders import padded_encoder, padded_inputs, step
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.transformer import make_encoder

SETTING = Setting(device="cpu", is_quick=True)


def test_pictures_have_the_sizes_of_detrs_augmentation() -> None:
    sizes = draw_mix(400, E2E_VLP, "cpu").grid.sizes
    assert {min(size) for size in sizes} == set(range(15, 26))
    assert max(max(size) for size in sizes) == 42
    wide = sum(width > height for height, width in sizes) / len(sizes)
    assert abs(wide - sum(aspect > 1 for aspect in ASPECTS) / 16) < 0.08
    assert max(h * w for h, w in draw_mix(400, SOHO, "cpu").grid.sizes) <= 10 * 16


def test_the_same_seed_draws_the_same_batch() -> None:
    first, again, other = (draw_mix(8, SOHO, "cpu", seed=seed) for seed in (0, 0, 1))
    assert first.grid.sizes == again.grid.sizes != other.grid.sizes


def test_padding_and_back() -> None:
    mix = draw_mix(3, SOHO, "cpu")
    rows = torch.randn(mix.packing.num_rows, 2)
    padded = mix.pad(rows)
    assert padded.shape[:2] == mix.is_padding.shape == (3, mix.padded_length)
    assert torch.equal(mix.unpad(padded), rows)
    assert not padded[mix.is_padding].any()
    assert (~mix.is_padding).sum(1).tolist() == list(mix.packing.lengths)


def test_ways_agree_with_float64() -> None:
    mix = draw_mix(3, SOHO, "cpu")
    *qkv, grad = torch.randn(4, mix.packing.num_rows, 2, 8).unbind()
    truth = ways.exactly(qkv, grad, mix.packing.lengths)
    packed = ways.forward_backward(ways.by_ours(mix), qkv, grad)
    padded = ways.forward_backward(
        ways.by_masked_sdpa(mix), [mix.pad(x) for x in qkv], mix.pad(grad)
    )
    assert ways.largest_difference(packed, truth) < 1e-5
    assert ways.largest_difference([mix.unpad(x) for x in padded], truth) < 1e-5
    broken = [truth[0] + 1, *truth[1:]]
    assert ways.largest_difference(broken, truth) > 0.1


def test_the_padded_encoder_is_ours() -> None:
    mix = draw_mix(2, SOHO, "cpu")
    encoder = make_encoder(CONFIG, 2)
    sine = SinePosition(CONFIG.width).on_rows(mix.grid, mix.packing)
    x, grad = torch.randn(2, mix.packing.num_rows, CONFIG.width)
    ours = step(encoder, x, mix.packing, sine, grad=grad)
    inputs = padded_inputs(mix, (x, sine.rows()))
    theirs = step(padded_encoder(encoder), *inputs, grad=mix.pad(grad))
    assert ways.largest_difference(ours[:2], [mix.unpad(found) for found in theirs[:2]]) < 1e-4
    assert total(ours[2:]) == total(theirs[2:]) > 0


def total(gradients: list[Tensor]) -> int:
    return sum(gradient.numel() for gradient in gradients)


def test_names_say_their_sizes() -> None:
    assert all("-B2-" in name for name in cases(SETTING))
    assert {name.partition("-")[0] for name in cases(SETTING)} == {
        "dense",
        "coco",
        "soho",
        "block",
        "encoder6",
    }
