"""Layers that compute again keep their inputs alone, draw the same dropout, and move norms once."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlp_fast.layers.backbone import ResNet
from vlp_fast.layers.embeddings import SinePosition
from vlp_fast.layers.recomputation import recompute_layers
from vlp_fast.layers.sequences import Spans
from vlp_fast.layers.transformer import Decoder, DecoderLayer, LayerConfig, make_encoder
from vlp_fast.ops.grid import make_grid
from vlp_fast.ops.packing import make_packing

WIDTH = 16
# Not a rectifier, which computes its dropout itself: `ffn.dropout` is looked into here.
CONFIG = LayerConfig(width=WIDTH, num_heads=2, ffn_dim=24, dropout=0.3, activation="gelu")
SIZES = ((30, 40), (32, 24))


def encoder() -> tuple[nn.Module, Callable[[nn.Module], Tensor], str]:
    grid = make_grid([(2, 3), (1, 2)], (2, 3))
    packing = make_packing([4, 2], [0, 1], grid)
    rows = torch.randn(packing.num_rows, WIDTH)
    positions = SinePosition(WIDTH).on_rows(grid, packing)
    return make_encoder(CONFIG, 2), lambda run: run(rows, packing, positions), "ffn.dropout"


def decoder() -> tuple[nn.Module, Callable[[nn.Module], Tensor], str]:
    asked, told = (Spans.uniform(2, length, torch.device("cpu")) for length in (3, 5))
    rows, memory = torch.randn(6, WIDTH), torch.randn(10, WIDTH)
    model = Decoder([DecoderLayer(CONFIG) for _ in range(2)], nn.LayerNorm(WIDTH))
    return model, lambda run: run(rows, asked, memory, told, causal=True), "ffn.dropout"


def cnn(block: str) -> Callable[[], tuple[nn.Module, Callable[[nn.Module], Tensor], str]]:
    def make() -> tuple[nn.Module, Callable[[nn.Module], Tensor], str]:
        images = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
        settings: Any = {"block": block, "blocks": (1, 2), "widths": (4, 8)}
        model = ResNet(**settings, norm="batch", stem="small", remask=True)
        return model, lambda run: run(images, SIZES), "conv2"

    return make


MODELS = {
    "encoder": encoder,
    "decoder": decoder,
    "basic": cnn("basic"),
    "bottleneck": cnn("bottleneck"),
}


def step(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> list[Tensor]:
    """Output, gradients and buffers of a training step."""
    torch.manual_seed(7)
    out = run(model)
    out.square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    return [out.detach(), *gradients, *(x.clone() for x in model.buffers())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_the_same_bits(name: str, dtype: torch.dtype) -> None:
    found = []
    for recomputes in (False, True):
        torch.manual_seed(0)
        model, run, _ = MODELS[name]()
        names = list(model.state_dict())
        if recomputes:
            recompute_layers(model)
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            found.append(step(model, run))
        assert list(model.state_dict()) == names
    assert len(found[0]) > 10
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_inside_is_not_kept_and_is_computed_again(name: str) -> None:
    kept: list[weakref.ref[Tensor]] = []
    for recomputes in (False, True):
        kept.clear()
        model, run, inside = MODELS[name]()
        if recomputes:
            recompute_layers(model)
        parts = [module for of, module in model.named_modules() if of.endswith(inside)]
        for part in parts:
            part.register_forward_hook(lambda _, __, out: kept.append(weakref.ref(out)))
        out = run(model)
        assert len(kept) == len(parts) > 1
        assert any(value() is not None for value in kept) is not recomputes
        out.sum().backward()
        assert len(kept) == len(parts) * (1 + recomputes)
        with torch.no_grad():
            run(model.eval())
        assert len(kept) == len(parts) * (2 + recomputes)


def test_frozen_norms_and_norms_without_statistics_stay_what_they_are() -> None:
    model, run, _ = cnn("basic")()
    assert isinstance(model, ResNet)
    recompute_layers(model)
    norm = model.get_submodule("layer2.1.bn1")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.track_running_stats = False
    model.freeze(1)
    before = {name: value.clone() for name, value in model.named_buffers()}
    run(model).sum().backward()
    moved = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in moved} == {"layer2"}
    assert not any(name.startswith("layer2.1.bn1") for name in moved)
    assert not norm.track_running_stats
    assert model.get_buffer("layer2.0.bn1.num_batches_tracked") == 1
