"""Fidelity to the published code: its grid sizes. Of its weights: tests/weights."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from vlp_fast.models.config import BackboneConfig, SohoConfig, official
from vlp_fast.models.soho import build_soho

PUBLISHED = official(SohoConfig(backbone=BackboneConfig(depth=18, norm="batch"), layers=1))


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    ("sizes", "padded"),
    [([(600, 450)], (608, 480)), ([(448, 777), (600, 1000)], (608, 1024)), ([(330, 1)], (352, 64))],
)
def test_official_grid_sizes_equal_a_sampled_mask(
    legacy: bool, sizes: list[tuple[int, int]], padded: tuple[int, int]
) -> None:
    with torch.device("meta"):
        model = build_soho(replace(PUBLISHED, legacy_square_mask=legacy))
    cells, map_size = model.grid_sizes(sizes, padded)
    for (height, width), expected in zip(sizes, cells, strict=True):
        mask = torch.zeros(1, 1, padded[0], padded[0] if legacy else padded[1])
        mask[..., :height, :width] = 1
        sampled = F.interpolate(mask, size=map_size)[0, 0].bool()
        assert (int(sampled.any(1).sum()), int(sampled.any(0).sum())) == expected
        assert sampled[: expected[0], : expected[1]].all()
