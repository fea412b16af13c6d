"""A tiny E2E-VLP whose CNN is the identity, for the tests of this folder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vlp_fast.models.config import (
    BackboneConfig,
    E2EVLPConfig,
)
from vlp_fast.models.e2e_vlp import E2EVLP, build_e2e_vlp
from vlp_fast.models.model import Seen
from vlp_fast.ops.grid import Grid, make_grid
from vlp_fast.ops.packing import Packing, make_packing

TINY = E2EVLPConfig(
    backbone=BackboneConfig(
        depth=None, block="basic", blocks=(1, 1), widths=(4, 8), stem="small", norm="batch"
    ),
    width=16,
    num_heads=3,
    head_dim=4,
    ffn_dim=24,
    encoder_layers=2,
    decoder_layers=3,
    num_queries=5,
    vocab_size=23,
    max_positions=12,
    num_classes=7,
    num_attributes=4,
    dropout=0.0,
)

SIZES = ((2, 3), (4, 2), (1, 1))
MAP_SIZE = (4, 5)


class MapBackbone(nn.Module):
    """Stands for the CNN: the images are the feature maps."""

    out_channels = 8

    def forward(self, images: Tensor, sizes: Sequence[tuple[int, int]] | None = None) -> Tensor:
        return images


def tiny_model(changed: E2EVLPConfig = TINY) -> E2EVLP:
    torch.manual_seed(0)
    model = build_e2e_vlp(changed)
    model.backbone = MapBackbone()
    # At their start biases are 0 and words small: outputs would agree for want of any difference.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def random_maps(seed: int = 1) -> Tensor:
    """Maps of three images, with NaN where they are padded."""
    maps = torch.randn(3, 8, *MAP_SIZE, generator=torch.Generator().manual_seed(seed))
    for image, (height, width) in enumerate(SIZES):
        maps[image, :, height:] = torch.nan
        maps[image, :, :, width:] = torch.nan
    return maps


def random_ids(count: int, seed: int = 2) -> Tensor:
    return torch.randint(23, (count,), generator=torch.Generator().manual_seed(seed))


def read(
    model: E2EVLP, ids: Tensor, text_lengths: Sequence[int], image_of: Sequence[int]
) -> tuple[Tensor, Grid, Packing]:
    grid = make_grid(SIZES, MAP_SIZE)
    packing = make_packing(text_lengths, image_of, grid)
    maps = random_maps().to(model.input_projection.weight.dtype)
    memory = model.read(ids, Seen(cells=model.features(maps, grid)), grid, packing)
    return memory, grid, packing


def image_only(model: E2EVLP) -> tuple[Tensor, Grid, Packing]:
    return read(model, random_ids(0), [0, 0, 0], [0, 1, 2])


# Size
