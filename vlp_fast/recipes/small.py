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

# The drawings are small and soon all in memory: on two cores a loading process takes from the
# model what it gives.
WORLD_DATA = replace(_DATA, num_workers=0)
