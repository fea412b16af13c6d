"""Residual network that turns pixels into a feature map (SOHO section 3.1; E2E-VLP section 3.1).

Modules carry torchvision's names, so its ImageNet weights load one to one. What differs from
torchvision:

- any number of stages, of any width, behind one of two stems (`STEM_STRIDES`), which gives

      stem       stages   stride
      small           3        8     3x3 convolution of stride 2
      imagenet        3       16     7x7 convolution of stride 2, 3x3 max-pool of stride 2
      small           4       16
      imagenet        4       32     the ResNet of the papers

- `norm="frozen"` is DETR's: affine and statistics are buffers that nothing trains. Published
  parameter totals count the affine ones, hence `parameter_total`;
- `freeze` and `freeze_statistics` hold layers still for the whole of a run or part of it;
- `remask=True` makes a feature map independent of the images that share its batch, if its norms are
  frozen or in evaluation: batch norm that trains takes its statistics over padding too.

Why remask: a batch pads its images with zeros, and behind the first norm padding is no longer zero,
so an image beside padding sees another border than alone. Measured on a random ResNet-18 with
random statistics (256x320 pixels inside 512x640; float32): without remask the cells at the padded
border move by 46 % of the map's root mean square, the next ones by 23 %, those further in by 0.6 %;
with remask all move by under 0.001 %. `tests/layers/test_backbone.py` repeats it.
"""

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vlp_fast.layers.pixels import normalised, padding_mask
from vlp_fast.layers.residual_block import (
    BasicBlock,
    Bottleneck,
    FrozenNorm,
    Stage,
    halve_padding,
    zero_padding,
)

Block = Literal["basic", "bottleneck"]
Norm = Literal["frozen", "batch"]
Stem = Literal["imagenet", "small"]

STEM_STRIDES: dict[Stem, int] = {"imagenet": 4, "small": 2}

_DEPTHS: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """Computes the last feature map of a residual network.

    Args:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1; four times wider out).
        blocks: residual blocks per stage; every stage after the first halves the map.
        widths: channels per stage, before the bottleneck's factor four.
        norm: "frozen" (buffers, DETR) or "batch" (trainable, statistics of the batch in training).
        stem: "imagenet" (stride 4) or "small" (stride 2).
        remask: zero the padding in front of every spatial convolution and pool.

    Attributes:
        stride: pixels per cell of the feature map.
        out_channels: channels of the feature map.
        num_stages: stages behind the stem.
        frozen_stages: how many of them, with the stem, `freeze` holds still.

    Raises:
        ValueError: for an unknown block, norm or stem, or blocks and widths of different lengths.

    Source: He et al. 2016, in torchvision's form (the 3x3 convolution of a bottleneck carries the
        stride).
    """

    def __init__(
        self,
        *,
        block: Block = "basic",
        blocks: Sequence[int] = (2, 2, 2, 2),
        widths: Sequence[int] = (64, 128, 256, 512),
        norm: Norm = "frozen",
        stem: Stem = "imagenet",
        remask: bool = False,
    ) -> None:
        super().__init__()
        _check_names(block, norm, stem, blocks, widths)
        self.remask = remask
        self.num_stages = len(blocks)
        block_class = _BLOCKS[block]
        make_norm = _NORMS[norm]
        self.stride = STEM_STRIDES[stem] * 2 ** (self.num_stages - 1)
        self.out_channels = widths[-1] * block_class.expansion

        kernel = 7 if stem == "imagenet" else 3
        self.conv1 = nn.Conv2d(3, widths[0], kernel, stride=2, padding=kernel // 2, bias=False)
        self.bn1 = make_norm(widths[0])
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "imagenet" else None
        channels = widths[0]
        for number, (depth, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stage = Stage(block_class, channels, width, depth, 1 if number == 1 else 2, make_norm)
            self.add_module(f"layer{number}", stage)
            channels = width * block_class.expansion

        self.frozen_stages = 0
        self._statistics_are_frozen = False
        _initialise(self)

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """Computes the feature map of a padded batch.

        Args:
            images: (B, 3, H, W), padded at the bottom and the right: uint8 RGB, which is normalised
                here, or float, normalised and zero in the padding.
            sizes: the images' own (height, width) in pixels, host integers; needed for uint8 and
                for `remask`.

        Returns:
            (B, out_channels, ceil(H / stride), ceil(W / stride)). Cells beyond `feature_size` of an
            image are padding, and not zero.

        Raises:
            ValueError: if sizes are needed and missing, or do not fit the batch.
        """
        padding = self._padding(images, sizes)
        if images.dtype == torch.uint8:
            pixels = normalised(images, () if sizes is None else sizes)
            images = pixels.to(self.conv1.weight.dtype)
        x = self.bn1(self.conv1(zero_padding(images, padding))).relu_()
        padding = halve_padding(padding)
        if self.maxpool is not None:
            # Behind a ReLU the zeros of remask never win over a valid cell: as if minus infinity.
            x = self.maxpool(zero_padding(x, padding))
            padding = halve_padding(padding)
        for stage in self.stages():
            x = stage(x, padding)
            padding = halve_padding(padding) if stage.stride == 2 else padding
        return cast(Tensor, x)

    def feature_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns an image's (height, width) in cells from that in pixels: each step rounds up."""
        height, width = size
        return -(-height // self.stride), -(-width // self.stride)

    def stages(self) -> list["Stage"]:
        """Returns layer1, layer2, ... in order."""
        return [cast("Stage", getattr(self, f"layer{n}")) for n in range(1, self.num_stages + 1)]

    def freeze(self, stages: int) -> None:
        """Freezes the stem and the first stages, and thaws all the others.

        Frozen parameters get no gradient and frozen norms keep their statistics in training.
        Calling it again with another number moves the boundary, so a schedule is one call per
        change.

        Args:
            stages: 0 nothing; 1 the stem and layer1 (DETR, the official SOHO); `num_stages`
                everything.

        Raises:
            ValueError: if there are fewer stages.
        """
        if not 0 <= stages <= self.num_stages:
            raise ValueError(
                f"ResNet.freeze: received {stages} stages, expected 0 to {self.num_stages}"
            )
        self.frozen_stages = stages
        self.requires_grad_(True)
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train(self.training)

    def freeze_statistics(self, frozen: bool = True) -> None:
        """Keeps every batch norm on its stored statistics; its affine parameters still learn."""
        self._statistics_are_frozen = frozen
        self.train(self.training)

    def train(self, mode: bool = True) -> "ResNet":
        """Switches to training, except for what is frozen."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        if self._statistics_are_frozen:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages == 0:
            return []
        return [self.conv1, self.bn1, *self.stages()[: self.frozen_stages]]

    def _padding(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None) -> Tensor | None:
        """Returns (B, 1, H, W) bool, True on padding, or None where there is none to be masked."""
        if not self.remask:
            return None
        if sizes is None or len(sizes) != images.shape[0]:
            received = "no sizes" if sizes is None else f"{len(sizes)} sizes"
            raise ValueError(
                f"ResNet: received {received} for {images.shape[0]} images,"
                " expected one (h, w) each; pass sizes or turn remask off"
            )
        map_size = (images.shape[2], images.shape[3])
        if all(tuple(size) == map_size for size in sizes):
            return None
        return padding_mask(sizes, map_size, images.device)


def resnet(depth: int, *, norm: Norm = "frozen", remask: bool = False) -> ResNet:
    """Builds the ResNet of 18, 34, 50, 101 or 152 layers.

    Raises:
        ValueError: for another depth.
    """
    if depth not in _DEPTHS:
        raise ValueError(f"resnet: received depth {depth}, expected one of {sorted(_DEPTHS)}")
    block, blocks = _DEPTHS[depth]
    return ResNet(block=block, blocks=blocks, norm=norm, remask=remask)


def parameter_total(module: nn.Module) -> int:
    """Counts parameters as papers do: with the affine ones of frozen norms, buffers here."""
    frozen = [m for m in module.modules() if isinstance(m, FrozenNorm)]
    affine = sum(m.weight.numel() + m.bias.numel() for m in frozen)
    return affine + sum(p.numel() for p in module.parameters())


_BLOCKS: dict[Block, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}
_NORMS: dict[Norm, Callable[[int], nn.Module]] = {"frozen": FrozenNorm, "batch": nn.BatchNorm2d}


def _initialise(model: nn.Module) -> None:
    # Norms keep weight 1, the last of a block too: from 0, a tiny model told .44 of drawn shapes
    # apart after 300 steps instead of .91.
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _check_names(
    block: str, norm: str, stem: str, blocks: Sequence[int], widths: Sequence[int]
) -> None:
    known: tuple[tuple[str, str, Sequence[str]], ...] = (
        ("block", block, list(_BLOCKS)),
        ("norm", norm, list(_NORMS)),
        ("stem", stem, list(STEM_STRIDES)),
    )
    for what, name, names in known:
        if name not in names:
            raise ValueError(f"ResNet: received {what} {name!r}, expected one of {names}")
    if len(blocks) != len(widths) or not blocks:
        raise ValueError(
            f"ResNet: received {len(blocks)} entries in blocks and {len(widths)} in widths,"
            " expected one per stage"
        )
