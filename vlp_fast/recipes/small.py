"""What the small recipes of both systems share: a CNN that learns from scratch, and from what."""

from __future__ import annotations

from dataclasses import replace

from vlp_fast.data.config import DataConfig
from vlp_fast.engine.config import OptimConfig, TrainConfig
from vlp_fast.models.config import BackboneConfig

BACKBONE = BackboneConfig(
    depth=None,
    block="basic",
    blocks=(2, 2, 2),
    widths=(32, 64, 128),
    stem="imagenet",
    norm="batch",
)
OPTIM = OptimConfig(
    weight_decay=0.01,
    betas=(0.9, 0.98),
    schedule="cosine",
    warmup_steps=300,
    clip_norm=1.0,
)

_DATA = DataConfig(
    shorter=None, shorter_held_out=None, longer=None, max_text_length=24, cache=True, num_workers=1
)
TINY_DATA = replace(_DATA, shorter=(112,), shorter_held_out=(112,), longer=160)
TINY_TRAIN = TrainConfig(log_every=10, checkpoint_every=100, held_out_images=64)

SMALL_WORLD_BACKBONE = replace(BACKBONE, blocks=(1, 1, 1), widths=(24, 48, 96), stem="small")
"""Eight pixels a cell: 64 cells of a picture of 64 pixels, fine enough to tell shapes."""
# Measured with E2E-VLP after as many steps: kinds of objects were told at .77 on this map, and at
# .35 and .42 on maps of 4 by 4 cells, by the larger stem and by a fourth stage.

# The drawings are small and soon all in memory: on two cores a loading process takes from the
# model what it gives.
WORLD_DATA = replace(_DATA, num_workers=0)

SMALL_WORLD_OPTIM = replace(
    OPTIM,
    lr=2e-3,
    backbone_optimizer="adamw",
    backbone_lr=3e-3,
    backbone_weight_decay=0.01,
    warmup_steps=50,
    freeze_statistics=True,
)
SMALL_WORLD_TRAIN = TrainConfig(
    batch_size=24, log_every=25, checkpoint_every=250, held_out_images=200
)
