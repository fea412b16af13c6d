"""Bytes to what the CNN takes, against the definition in float64."""

import pytest
import torch

from vlp_fast.layers.backbone import ResNet
from vlp_fast.layers.pixels import normalised

SIZES = ((5, 7), (4, 6), (1, 7))


def random_bytes() -> torch.Tensor:
    """(3, 3, 5, 7), channels last, anything in the padding."""
    rows = torch.randint(256, (3, 5, 7, 3), generator=torch.Generator().manual_seed(0))
    return rows.byte().permute(0, 3, 1, 2)


def test_bytes_are_normalised_and_padding_is_zero() -> None:
    images = random_bytes()
    before = images.clone()
    found = normalised(images, SIZES)
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)
    expected = (images.double() / 255 - mean) / std
    for row, right, (h, w) in zip(found, expected, SIZES, strict=True):
        torch.testing.assert_close(row[:, :h, :w].double(), right[:, :h, :w], atol=1e-5, rtol=0)
        assert not row[:, h:].any()
        assert not row[:, :, w:].any()
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


@pytest.mark.parametrize("remask", [False, True])
def test_a_resnet_takes_bytes_and_floats_alike(remask: bool) -> None:
    net = ResNet(blocks=(1,), widths=(4,), stem="small", remask=remask)
    images = random_bytes()
    assert torch.equal(net(images, SIZES), net(normalised(images, SIZES), SIZES))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_bytes_enter_a_resnet_in_its_own_number_format(dtype: torch.dtype) -> None:
    net = ResNet(blocks=(1,), widths=(4,), stem="small").to(dtype)
    images = random_bytes()
    assert torch.equal(net(images, SIZES), net(normalised(images, SIZES).to(dtype), SIZES))


def test_bytes_need_the_sizes_of_all_images() -> None:
    net = ResNet(blocks=(1,), widths=(4,), stem="small")
    with pytest.raises(ValueError, match=r"received 0 sizes for 3 images"):
        net(random_bytes())
    with pytest.raises(ValueError, match=r"received 2 sizes for 3 images"):
        net(random_bytes(), SIZES[:2])
