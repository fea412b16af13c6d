"""The ResNet: torchvision's values, independence of the batch, and what freezing holds still."""

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from vlp_fast.layers import backbone
from vlp_fast.layers.backbone import Norm, ResNet, Stem, parameter_total, resnet
from vlp_fast.layers.residual_block import FrozenNorm, zero_padding


def small(norm: Norm = "frozen", stem: Stem = "small", *, remask: bool = False) -> ResNet:
    torch.manual_seed(0)
    return ResNet(blocks=(2, 1, 1), widths=(8, 16, 32), norm=norm, stem=stem, remask=remask)


def randomise_norms(model: nn.Module) -> None:
    """Statistics and affine parameters as after training: an untrained norm hides most mistakes."""
    for module in model.modules():
        if isinstance(module, FrozenNorm | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0.0, 0.2)
            nn.init.normal_(module.running_mean, 0.0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_equals_torchvision_with_the_same_weights(depth: int, norm: Norm) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(f"resnet{depth}", weights=None)
    randomise_norms(theirs)
    ours = resnet(depth, norm=norm)
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    ours.load_state_dict(state)
    theirs.eval()
    ours.eval()
    images = torch.randn(2, 3, 97, 130)
    with torch.no_grad():
        expected = IntermediateLayerGetter(theirs, {"layer4": "map"})(images)["map"]
        actual = ours(images)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert actual.shape == (2, ours.out_channels, *ours.feature_size((97, 130)))


@pytest.mark.parametrize(("depth", "millions"), [(18, 11.18), (50, 23.51), (101, 42.50)])
def test_parameter_total_counts_the_affine_of_frozen_norms(depth: int, millions: float) -> None:
    with torch.device("meta"):
        frozen, trained = resnet(depth), resnet(depth, norm="batch")
    total = sum(p.numel() for p in trained.parameters())
    assert total / 1e6 == pytest.approx(millions, abs=0.005)
    assert parameter_total(frozen) == parameter_total(trained) == total


@pytest.mark.parametrize(
    ("stem", "stages", "stride"), [("small", 3, 8), ("imagenet", 3, 16), ("small", 4, 16)]
)
@pytest.mark.parametrize("size", [(112, 96), (49, 65), (17, 1)])
def test_stems_give_strides_that_round_up(
    stem: Stem, stages: int, stride: int, size: tuple[int, int]
) -> None:
    model = ResNet(blocks=(1,) * stages, widths=(4,) * stages, stem=stem)
    expected = (-(-size[0] // stride), -(-size[1] // stride))
    assert model.stride == stride
    assert model.feature_size(size) == expected
    assert model(torch.randn(1, 3, *size)).shape[2:] == expected


@pytest.mark.parametrize("stem", ["small", "imagenet"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_remask_makes_images_independent_of_their_batch(stem: Stem, block: str) -> None:
    torch.manual_seed(0)
    model = ResNet(
        block="basic" if block == "basic" else "bottleneck",
        blocks=(2, 1, 1),
        widths=(8, 16, 32),
        stem=stem,
        remask=True,
    )
    randomise_norms(model)
    model.eval()
    sizes = ((37, 64), (64, 51), (33, 33))
    alone = [torch.randn(1, 3, *size) for size in sizes]
    together = torch.full((3, 3, 70, 80), torch.nan)  # Not even NaN in the padding is seen.
    for row, image in zip(together, alone, strict=True):
        row[:, : image.shape[2], : image.shape[3]] = image[0]
    maps = model(together, sizes)
    for index, (image, size) in enumerate(zip(alone, sizes, strict=True)):
        height, width = model.feature_size(size)
        expected = model(image, (size,))[0]
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(maps[index, :, :height, :width], expected, rtol=1e-5, atol=1e-5)


def test_leak_at_the_borders_without_remask() -> None:
    """Measures what `backbone.py` states; the bounds leave room for another random network."""
    model = resnet(18)
    torch.manual_seed(0)
    randomise_norms(model)
    model.eval()
    image = torch.randn(1, 3, 256, 320)
    padded = torch.zeros(1, 3, 512, 640)
    padded[:, :, :256, :320] = image
    with torch.no_grad():
        alone = model(image)
        leaking = relative_error(model(padded)[:, :, :8, :10], alone)
        model.remask = True
        clean = relative_error(model(padded, ((256, 320),))[:, :, :8, :10], alone)
    assert 0.2 < torch.cat([leaking[-1], leaking[:, -1]]).mean() < 0.8
    assert 0.05 < leaking[-2, :-1].mean() < 0.5
    assert leaking[:-3, :-3].mean() < 0.03
    assert clean.max() < 1e-5


def relative_error(actual: Tensor, expected: Tensor) -> Tensor:
    """(h, w) root mean square over channels, relative to that of the whole map."""
    error = (actual - expected).square().mean(dim=1)[0].sqrt()
    return error / expected.square().mean().sqrt()


def test_freeze_holds_parameters_and_statistics_and_can_move() -> None:
    model = small("batch").train()
    model.freeze(2)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    frozen = {n for n, p in model.named_parameters() if p.grad is None}
    assert frozen == {
        n for n, _ in model.named_parameters() if n.startswith(("conv1", "bn1", "layer1", "layer2"))
    }
    counts = {n: int(b) for n, b in model.named_buffers() if n.endswith("num_batches_tracked")}
    assert counts["bn1.num_batches_tracked"] == counts["layer2.0.bn1.num_batches_tracked"] == 0
    assert counts["layer3.0.bn1.num_batches_tracked"] == 1
    model.train()
    assert not model.bn1.training, "train() must not thaw"
    model.freeze(0)
    assert all(p.requires_grad for p in model.parameters())
    assert model.bn1.training


def test_freeze_statistics_leaves_the_affine_parameters_training() -> None:
    model = small("batch").train()
    model.freeze_statistics()
    model.train()
    before = model.bn1.running_mean.clone()
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert torch.equal(model.bn1.running_mean, before)
    assert model.bn1.weight.grad is not None
    assert model.bn1.weight.grad.abs().sum() > 0
    model.freeze_statistics(False)
    model(torch.randn(2, 3, 32, 32))
    assert not torch.equal(model.bn1.running_mean, before)


def test_frozen_norm_has_no_parameters_and_keeps_half_precision() -> None:
    model = small("frozen").to(memory_format=torch.channels_last)
    assert not [n for n, _ in model.named_parameters() if "bn" in n]
    images = torch.randn(2, 3, 32, 48).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(images)
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out.float(), model(images), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_frozen_norm_has_the_bits_of_batch_norm(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    norm = frozen_norm()
    x = torch.randn(2, 8, 5, 7).to(dtype).contiguous(memory_format=layout).requires_grad_()
    fixed = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    expected = torch.nn.functional.batch_norm(x, *fixed, eps=norm.eps)
    grad = torch.randn_like(expected)
    for found, upstream in ((norm(x), grad), (norm(x), grad[:1, :1, :1, :1].expand_as(grad))):
        assert torch.equal(found, expected)
        (of_x,) = torch.autograd.grad(found, x, upstream)
        (wanted,) = torch.autograd.grad(expected, x, upstream, retain_graph=True)
        assert torch.equal(of_x, wanted)
        assert of_x.dtype == dtype


def test_a_frozen_norm_can_be_differentiated_further() -> None:
    norm = frozen_norm().double()
    x = torch.randn(2, 8, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)
    assert torch.autograd.gradgradcheck(norm, x)
    of = torch.func.grad(lambda rows: norm(rows).square().sum())
    several = torch.randn(3, 2, 8, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(of)(several), torch.stack([*map(of, several)]))


def test_of_frozen_norms_a_step_keeps_one_map_a_convolution() -> None:
    model = small("frozen")
    kept: dict[int, torch.Tensor] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 4 and not isinstance(x, nn.Parameter):
            kept[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        model(torch.randn(2, 3, 32, 48))
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    shortcuts = sum("downsample" in name for name, m in model.named_modules() if m in convolutions)
    assert len(kept) == len(convolutions) - shortcuts + 1  # the images, and the last map


def frozen_norm() -> FrozenNorm:
    norm = FrozenNorm(8)
    norm.weight.normal_()
    norm.bias.normal_()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    return norm


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeros_leave_maps_in_their_layout(layout: torch.memory_format, dtype: torch.dtype) -> None:
    maps = torch.randn(2, 8, 5, 7).to(dtype).contiguous(memory_format=layout)
    padding = torch.zeros(2, 1, 5, 7, dtype=torch.bool)
    padding[1, :, 3:] = True
    found = zero_padding(maps, padding)
    assert torch.equal(found, maps.masked_fill(padding, 0.0))
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=layout)


def test_remask_costs_nothing_where_nothing_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(remask=True)
    images = torch.randn(2, 3, 32, 48)
    masked = model(images, [(32, 48), (32, 40)])
    monkeypatch.setattr(backbone, "padding_mask", None)
    whole = model(images, [(32, 48), (32, 48)])
    torch.testing.assert_close(whole[0], masked[0])
    assert not torch.allclose(whole[1], masked[1])


def test_wrong_arguments_are_told() -> None:
    with pytest.raises(ValueError, match=r"depth 20, expected one of \[18, 34, 50, 101, 152\]"):
        resnet(20)
    with pytest.raises(ValueError, match="one per stage"):
        ResNet(blocks=(2, 2), widths=(8,))
    with pytest.raises(ValueError, match="stem 'tiny'"):
        ResNet(stem="tiny")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 to 3"):
        small().freeze(4)
    with pytest.raises(ValueError, match="no sizes for 1 images"):
        small(remask=True)(torch.zeros(1, 3, 8, 8))
