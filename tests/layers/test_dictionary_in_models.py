"""What programs do to a dictionary in models: other dtypes, meta, averages, in-place calls."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlp_fast

LAYERS: dict[str, Callable[[], Any]] = {
    "paper": lambda: vlp_fast.VisualDictionary(16, 8, revival=0.2),
    "official": lambda: vlp_fast.VisualDictionary(16, 8, semantics="official"),
    "quantizer": lambda: vlp_fast.VectorQuantize(8, 16, threshold_ema_dead_code=0.5),
}
X = torch.linspace(-9, 9, 40 * 8).sin().view(40, 8) + torch.arange(8)


@pytest.fixture
def default_dtype() -> Iterator[Callable[[torch.dtype], None]]:
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


def codes_of(layer: Any) -> Tensor:
    codes: Tensor = layer.codebook if isinstance(layer, vlp_fast.VectorQuantize) else layer.embed
    return codes


def assert_float32(layer: nn.Module) -> None:
    for name, value in layer.state_dict().items():
        assert value.dtype in (torch.float32, torch.int64, torch.bool), name


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("way", ["moved", "built", "assigned", "loaded"])
def test_the_state_is_float32_in_models_of_every_dtype(layer, dtype, way, default_dtype) -> None:
    plain = LAYERS[layer]()
    if way == "built":
        default_dtype(dtype)
        other = LAYERS[layer]()
        default_dtype(torch.float32)
        other.load_state_dict(plain.state_dict())
    elif way == "moved":
        other = copy.deepcopy(plain).to(dtype)
    else:
        rounded = {
            name: value.to(dtype) if value.is_floating_point() else value.clone()
            for name, value in plain.state_dict().items()
        }
        other = LAYERS[layer]()
        other.load_state_dict(rounded, assign=way == "assigned")
        plain.load_state_dict(rounded)
    assert_float32(other)
    x = X.to(dtype)
    quantised, indices = other(x)[:2]
    wanted, nearest = plain(x)[:2]
    assert quantised.dtype == dtype
    assert torch.equal(indices, nearest)
    assert torch.equal(quantised, wanted)
    if layer != "quantizer":  # whose dead codes are drawn
        assert torch.equal(codes_of(other), codes_of(plain))
    assert_float32(other)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_codes_that_were_written_past_pytorchs_count_are_searched(layer, training) -> None:
    """Moving averages of models, and collectives, write through `.data`."""
    module = LAYERS[layer]()
    for seed in range(3):
        module.train(training)(X)
        embed = next(value for name, value in module.named_buffers() if name.endswith("embed"))
        embed.data.copy_(torch.randn_like(embed, generator=None) + seed)
        codes = codes_of(module).clone()
        found = module(X)[1]
        assert torch.equal(found, torch.cdist(X.double(), codes.double()).argmin(1))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_what_comes_out_may_be_changed_in_place(layer, training) -> None:
    module = LAYERS[layer]().train(training)
    other = copy.deepcopy(module)
    found = []
    for run, activation in ((module, nn.ReLU(inplace=True)), (other, nn.ReLU())):
        torch.manual_seed(1)
        x = X.clone().requires_grad_()
        call = run if layer == "quantizer" else run.quantise
        quantised, indices, loss = call(x)
        changed = activation(quantised)
        indices.add_(1)
        if loss.requires_grad or changed.requires_grad:
            (changed.pow(2).sum() + loss).backward()
        found.append((changed.detach(), x.grad, codes_of(run)))
    for mine, wanted in zip(*found, strict=True):
        assert (mine is None) == (wanted is None)
        assert mine is None or torch.equal(mine, wanted)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_loss_of_rows_without_gradient_may_be_sent_backward(layer) -> None:
    module = LAYERS[layer]()
    loss = (module if layer == "quantizer" else module.quantise)(X)[2]
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_layers_on_meta_tell_shapes(layer, training) -> None:
    with torch.device("meta"):
        module = LAYERS[layer]().train(training)
        x = torch.randn(5, 8)
    quantised, indices = module(x)[:2]
    assert (quantised.shape, quantised.dtype, quantised.device.type) == ((5, 8), x.dtype, "meta")
    assert (indices.shape, indices.dtype) == ((5,), torch.int64)
    moved = LAYERS[layer]().to("meta")
    assert moved(x)[0].shape == (5, 8)


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("layer", ["paper", "official"])
def test_rows_left_out_are_counted_from_zero_after_loading_on_meta(layer, assign) -> None:
    source = LAYERS[layer]()
    with torch.device("meta"):
        dictionary = LAYERS[layer]()
    if not assign:
        dictionary.to_empty(device="cpu")
    dictionary.load_state_dict(source.state_dict(), assign=assign)
    assert int(dictionary.non_finite_rows) == 0
    x = X.clone()
    x[3, 3] = torch.nan
    with pytest.warns(RuntimeWarning, match="NaN"):
        dictionary(x)
    assert int(dictionary.non_finite_rows) == 1
    assert int(copy.deepcopy(dictionary).to(torch.float64).non_finite_rows) == 1
    assert not any("non_finite" in name for name in dictionary.state_dict())
