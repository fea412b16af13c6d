"""E2E-VLP (ACL 2021), section 4.2: AdamW 1e-4 / 1e-5, batch 32, 200 epochs, 480-800 / 1333.

The paper gives no schedule, no clipping and no batch per GPU; DETR's are taken: clip at 0.1, and
the rate constant but for one division by ten, here after two thirds of the run as in DETR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vlp_fast.data.config import DataConfig
from vlp_fast.engine.config import OptimConfig, RunConfig, TrainConfig
from vlp_fast.models.config import E2EVLPConfig, model_config
from vlp_fast.recipes import small
from vlp_fast.recipes.first_weights import resnet
from vlp_fast.tasks.pretraining.config import E2EVLPPretrainingConfig

SCALES = tuple(range(480, 801, 32))
"""DETR's shorter sides, in pixels."""


def paper(name: str) -> RunConfig:
    """The paper's pre-training of the model of that name (8 V100, 200 epochs over the images)."""
    model = model_config(name)
    assert isinstance(model, E2EVLPConfig)
    return RunConfig(
        name=name,
        model=model,
        task=E2EVLPPretrainingConfig(),
        init=(resnet(model),),
        data=DataConfig(shorter=SCALES, shorter_held_out=(800,), longer=1333, max_text_length=40),
        optim=OptimConfig(
            lr=1e-4,
            weight_decay=1e-4,
            backbone_lr=1e-5,
            backbone_weight_decay=1e-4,
            decay_epochs=(133.0,),
            clip_norm=0.1,
        ),
        train=TrainConfig(
            batch_size=4,
            shards=8,
            epochs=200.0,
            log_every=50,
            evaluate_every=5000,
            checkpoint_every=5000,
        ),
    )


SMALL = E2EVLPConfig(
    backbone=small.BACKBONE,
    width=128,
    num_heads=4,
    head_dim=32,
    ffn_dim=384,
    encoder_layers=3,
    decoder_layers=3,
    num_queries=16,
    max_positions=64,
    dropout=0.0,
    norm_first=True,
)
"""2 M parameters that learn from scratch on a CPU."""

# DETR's weights, all times 0.4: at their own size the boxes' gradient in the encoder was
# two to five times that of the masked words.
WORLD_TASK = E2EVLPPretrainingConfig(
    mask_rate=0.25,
    tagging_steps=1500,
    curriculum=0.25,
    image_only_detection_rate=0.5,
    class_weight=0.4,
    bbox_weight=2.0,
    giou_weight=0.8,
    attribute_weight=0.4,
)

SMALL_OPTIM = replace(small.OPTIM, lr=6e-4, backbone_lr=1.8e-3, backbone_weight_decay=0.01)


def tiny() -> RunConfig:
    """About a minute on two cores: all losses fall; nothing is learnt well."""
    return RunConfig(
        name="e2e_vlp_tiny",
        steps=300,
        model=replace(SMALL, num_queries=24),
        task=E2EVLPPretrainingConfig(mask_rate=0.25),
        data=small.TINY_DATA,
        optim=replace(SMALL_OPTIM, warmup_steps=50),
        train=replace(small.TINY_TRAIN, batch_size=16),
    )


def small_world() -> RunConfig:
    """The small world, minutes on two cores: words, boxes and captions come from the picture.

    As `e2e_vlp_world`, on smaller pictures with a smaller model: the ground and the words are
    learnt while the CNN is frozen, boxes and matching when its features may adapt to them.
    Make the data with `vlp-fast data make-world runs/small-world --images 4000 --bounds small`.
    """
    base = world()
    return replace(
        base,
        name="e2e_vlp_small_world",
        steps=1150,
        model=replace(
            SMALL,
            backbone=small.SMALL_WORLD_BACKBONE,
            encoder_layers=2,
            decoder_layers=1,
            ffn_dim=256,
            num_queries=6,
        ),
        task=replace(WORLD_TASK, tagging_steps=400, mask_rate=0.3, curriculum=0.0),
        optim=replace(small.SMALL_WORLD_OPTIM, freeze_backbone=1.0, thaw_scale=0.5),
        train=small.SMALL_WORLD_TRAIN,
    )


def world() -> RunConfig:
    """The drawn world, half an hour on two cores: the model uses the picture.

    The CNN first learns the words of the captions (`tagging_steps`), in place of ImageNet weights.
    Make the data with `vlp-fast data make-world runs/world-10k --images 11200 --seed 1`.
    """
    return RunConfig(
        name="e2e_vlp_world",
        steps=9150,
        # Boxes at the border suffer most where a batch is padded: AP .68 without padding, .57 with.
        model=replace(SMALL, backbone=replace(small.BACKBONE, remask=True)),
        task=WORLD_TASK,
        data=small.WORLD_DATA,
        optim=replace(SMALL_OPTIM, lr=8e-4, freeze_backbone=1.0, thaw_scale=0.5),
        train=TrainConfig(batch_size=32, log_every=50, evaluate_every=3050, checkpoint_every=3050),
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "e2e_vlp_tiny": tiny,
    "e2e_vlp_small_world": small_world,
    "e2e_vlp_world": world,
    "e2e_vlp_r50_6": lambda: paper("e2e_vlp_r50_6"),
    "e2e_vlp_r101_6": lambda: paper("e2e_vlp_r101_6"),
    "e2e_vlp_r152_6": lambda: paper("e2e_vlp_r152_6"),
    "e2e_vlp_r50_12": lambda: paper("e2e_vlp_r50_12"),
    "e2e_vlp_r101_12": lambda: paper("e2e_vlp_r101_12"),
    "e2e_vlp_r152_12": lambda: paper("e2e_vlp_r152_12"),
}
