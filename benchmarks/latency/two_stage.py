"""The detector of bottom-up attention by stages, of torchvision's parts.

    picture -> ResNet-101 to res4, stride 16 -> 12 anchors a cell, 6000 boxes to 300 by suppression
    -> RoIPool 14x14, res5 on every box with stride 1 and dilation 2 -> classes, boxes, attributes
    -> suppression class by class -> 100 boxes -> Transformer over 16 words and 100 boxes

Random weights, with scores that follow drawn objects (`drawn.py`). Deviations: batch norm in
evaluation stands for Caffe's norm and scale, and suppression is PyTorch's, whose boxes are a pixel
smaller than the original's.

Source: Anderson et al. 2018 (section 3.1), sizes by the published network
(`models/vg/ResNet-101/faster_rcnn_end2end_final/test.prototxt`), which SOHO (section 4.5) and
E2E-VLP (Table 4: LXMERT, UNITER) measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import RoIPool

from .drawn import Objects, draw_objects

STRIDE = 16
SMALLEST = 16.0
"""Pixels of a proposal's shorter side, at least."""
ANCHOR_SIDES, ANCHOR_RATIOS = (64, 128, 256, 512), (0.5, 1.0, 2.0)
MEAN_RGB = (122.7717, 115.9465, 102.9801)
"""Of the pictures, in levels of 255."""
OBJECTS = 150
"""At 600x1000, 102 boxes then survive a class with the score that keeps them: as many as are
read."""


@dataclass(frozen=True, kw_only=True)
class TwoStageSizes:
    """Of the published network; `QUICK` is one of the same parts."""

    blocks: tuple[int, int, int, int] = (3, 4, 23, 3)
    channels: int = 512
    """Of the layer in front of the proposals' scores."""
    before: int = 6000
    """Proposals in front of their suppression."""
    proposals: int = 300
    pool: int = 14
    """Cells a side of a box."""
    classes: int = 1600
    attributes: int = 400
    class_width: int = 256
    """Of the embedding of a box's class, which its attributes are read from."""
    attribute_width: int = 512


QUICK = TwoStageSizes(
    blocks=(1, 1, 1, 1), before=200, proposals=16, pool=2, classes=20, attributes=10
)


class Proposed(NamedTuple):
    """What the first stage found."""

    maps: Tensor
    """(1, 1024, h, w) of res4."""
    boxes: Tensor
    """(R, 4) corners in pixels, the best first."""


class Regions(NamedTuple):
    """What the second stage says of R boxes."""

    boxes: Tensor
    """(R, 4) corners in pixels, as proposed: extraction leaves them where they are."""
    features: Tensor
    """(R, 2048)."""
    scores: Tensor
    """(R, C + 1) probabilities; class 0 is background."""
    deltas: Tensor
    """(R, 4 (C + 1)), which extraction computes and does not use."""
    attributes: Tensor
    """(R, A + 1) probabilities."""


class TwoStage(nn.Module):
    """The detector; its methods are the stages.

    Args:
        size: (height, width) of the pictures.
        sizes: of the network.
    """

    mean: Tensor
    object_boxes: Tensor
    object_names: Tensor
    noise: Tensor

    def __init__(self, size: tuple[int, int], sizes: TwoStageSizes) -> None:
        super().__init__()
        self.cnn, self.res5 = resnet_in_two(sizes.blocks)
        self.rpn = _proposal_network(sizes)
        self.pool = RoIPool(sizes.pool, 1 / STRIDE)
        self.classes = _small(nn.Linear(2048, sizes.classes + 1))
        self.deltas = _small(nn.Linear(2048, 4 * (sizes.classes + 1)))
        self.class_embedding = nn.Embedding(sizes.classes + 1, sizes.class_width)
        self.attributes = nn.Sequential(
            _small(nn.Linear(2048 + sizes.class_width, sizes.attribute_width)),
            nn.ReLU(),
            _small(nn.Linear(sizes.attribute_width, sizes.attributes + 1)),
        )
        drawn = draw_objects(size, count=OBJECTS, boxes=sizes.proposals, classes=sizes.classes)
        self.register_buffer("mean", torch.tensor(MEAN_RGB)[:, None, None])
        self.register_buffer("object_boxes", drawn.boxes)
        self.register_buffer("object_names", drawn.names)
        self.register_buffer("noise", drawn.noise)
        self.register_buffer("objectness", self._objectness(size, sizes))

    @property
    def objects(self) -> Objects:
        """That the scores follow, on the device."""
        return Objects(boxes=self.object_boxes, names=self.object_names, noise=self.noise)

    def see(self, picture: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Maps a picture (1, 3, H, W) uint8 to (1, 1024, h, w), beside its (H, W)."""
        maps: Tensor = self.cnn(picture - self.mean)
        return maps, (picture.shape[2], picture.shape[3])

    def propose(self, seen: tuple[Tensor, tuple[int, int]]) -> Proposed:
        """Proposes boxes."""
        maps, size = seen
        self.rpn.head.drawn = self.objectness
        canvas = maps.new_empty(1).expand(1, 3, *(STRIDE * cells for cells in maps.shape[2:]))
        boxes, _ = self.rpn(ImageList(canvas, [size]), {"0": maps})
        return Proposed(maps, boxes[0])

    def look(self, proposed: Proposed) -> Regions:
        """Looks at every box again."""
        maps, boxes = proposed
        features = self.res5(self.pool(maps, [boxes])).mean((2, 3))
        logits = self.classes(features) + self.objects.class_logits(boxes)
        named = torch.cat([features, self.class_embedding(logits.argmax(1))], dim=1)
        return Regions(
            boxes=boxes,
            features=features,
            scores=logits.softmax(1),
            deltas=self.deltas(features),
            attributes=self.attributes(named).softmax(1),
        )

    def _objectness(self, size: tuple[int, int], sizes: TwoStageSizes) -> Tensor:
        """(1, A, h, w) logits of the anchors by the objects."""
        height, width = (-(-pixels // STRIDE) for pixels in size)
        canvas = torch.empty(1).expand(1, 3, STRIDE * height, STRIDE * width)
        cells = torch.empty(1).expand(1, 1, height, width)
        anchors = _anchors()(ImageList(canvas, [size]), [cells])[0]
        logits = self.objects.objectness(anchors).view(height, width, -1)
        return logits.permute(2, 0, 1)[None].contiguous()


def resnet_in_two(blocks: tuple[int, int, int, int]) -> tuple[nn.Sequential, nn.Sequential]:
    """A ResNet to res4, and its res5 with stride 1 and dilation 2."""
    # The last norm of a block starts at 0, or random maps double from block to block.
    resnet = ResNet(
        Bottleneck,
        list(blocks),
        replace_stride_with_dilation=[False, False, True],
        zero_init_residual=True,
    )
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    first: Any = resnet.layer4[0]  # torchvision dilates all but the first block
    first.conv2.dilation = first.conv2.padding = (2, 2)
    return nn.Sequential(*(getattr(resnet, name) for name in names)), resnet.layer4


class ProposalHead(nn.Module):
    """Objectness and deltas of the anchors of every cell.

    Two scores an anchor, background and object, as the original's; their difference is a logit.

    Args:
        channels: of the layer in front of both.
        anchors: a cell.
    """

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = _small(nn.Conv2d(1024, channels, 3, padding=1))
        self.scores = _small(nn.Conv2d(channels, 2 * anchors, 1))
        self.deltas = _small(nn.Conv2d(channels, 4 * anchors, 1))
        self.drawn: Tensor | float = 0.0
        """Logits that are added to what random weights say."""

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (1, 1024, h, w) to (1, A, h, w) logits and (1, 4 A, h, w) deltas, of one level."""
        hidden = self.conv(maps[0]).relu_()
        background, found = self.scores(hidden).chunk(2, dim=1)
        return [found - background + self.drawn], [self.deltas(hidden)]


def _proposal_network(sizes: TwoStageSizes) -> RegionProposalNetwork:
    network = RegionProposalNetwork(
        _anchors(),
        ProposalHead(sizes.channels, len(ANCHOR_SIDES) * len(ANCHOR_RATIOS)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 0, "testing": sizes.before},
        post_nms_top_n={"training": 0, "testing": sizes.proposals},
        nms_thresh=0.7,
    )
    network.min_size = SMALLEST
    return network


def _anchors() -> AnchorGenerator:
    return AnchorGenerator((ANCHOR_SIDES,), (ANCHOR_RATIOS,))


def _small(layer: nn.Module) -> Any:
    """As Faster R-CNN starts: N(0, 0.01), no bias."""
    nn.init.normal_(layer.weight, std=0.01)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
