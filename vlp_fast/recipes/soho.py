"""SOHO (CVPR 2021), section 4.1: SGD 1e-2 for the CNN, AdamW 1e-4 for the rest, 40 epochs.

4,096 image-text pairs a step are 1,024 images with four texts each, in 32
shards that any number of GPUs up to that share. Except in the official recipe, the
dictionary starts from k-means over features of the first batches, not from N(0, 1), from which a
handful of codes survive (docs/paper_gaps.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vlp_fast.data.config import DataConfig
from vlp_fast.engine.config import OptimConfig, RunConfig, TrainConfig
from vlp_fast.models.config import SohoConfig, model_config
from vlp_fast.recipes import small
from vlp_fast.recipes.first_weights import WEIGHTS, resnet
from vlp_fast.tasks.pretraining.config import SohoPretrainingConfig


def paper(name: str) -> RunConfig:
    """The paper's pre-training of the model of that name (32 V100)."""
    model = model_config(name)
    assert isinstance(model, SohoConfig)
    return RunConfig(
        name=name,
        model=replace(model, codebook_init="data"),
        task=SohoPretrainingConfig(),
        init=(resnet(model), WEIGHTS / "bert-base-uncased"),
        data=DataConfig(shorter=(600,), shorter_held_out=(600,), longer=1000, max_text_length=16),
        optim=OptimConfig(
            lr=1e-4,
            weight_decay=1e-2,
            backbone_optimizer="sgd",
            backbone_lr=1e-2,
            backbone_weight_decay=5e-4,
            eps=1e-6,
            decay_epochs=(25.0, 35.0),
            warmup_steps=500,
            clip_norm=10.0,
            freeze_backbone=10.0,
        ),
        train=TrainConfig(
            batch_size=32,
            shards=32,
            epochs=40.0,
            log_every=50,
            evaluate_every=1000,
            checkpoint_every=1000,
        ),
    )


def official() -> RunConfig:
    """The published code's own recipe: 16 images a GPU, 8 GPUs, twice a step; no freeze.

    Warm-up there starts from a third of the rate, here from zero.
    """
    base = paper("soho_r18_3_official")
    return replace(
        base,
        model=model_config("soho_r18_3_official"),
        optim=replace(
            base.optim,
            backbone_weight_decay=1e-4,
            freeze_backbone=0.0,
            warmup_steps=500,
        ),
        train=replace(base.train, batch_size=16, shards=16),
    )


SMALL = SohoConfig(
    backbone=small.BACKBONE,
    width=128,
    num_heads=4,
    ffn_dim=384,
    layers=3,
    max_positions=64,
    num_codes=512,
    momentum=0.99,
    dropout=0.0,
    norm_first=True,
    normalize_input=True,
    codebook_init="data",
)
"""1.3 M parameters that learn from scratch on a CPU."""

SMALL_OPTIM = replace(small.OPTIM, lr=8e-4, backbone_optimizer="sgd", backbone_weight_decay=5e-4)


def tiny() -> RunConfig:
    """About a minute on two cores: all losses fall; nothing is learnt well."""
    return RunConfig(
        name="soho_tiny",
        steps=300,
        model=replace(SMALL, num_codes=128),
        task=SohoPretrainingConfig(mask_rate=0.25, tagging_steps=60, codebook_samples=2000),
        data=small.TINY_DATA,
        optim=replace(SMALL_OPTIM, backbone_lr=2e-3, warmup_steps=50),
        train=replace(small.TINY_TRAIN, batch_size=12),
    )


def small_world() -> RunConfig:
    """The small world, minutes on two cores: words, codes and matching are told from the picture.

    As `soho_world`, but the CNN stays frozen after the tagging: what it has learnt is enough.
    Make the data with `vlp-fast data make-world runs/small-world --images 4000 --bounds small`.
    """
    return RunConfig(
        name="soho_small_world",
        steps=1050,
        model=replace(
            SMALL,
            backbone=small.SMALL_WORLD_BACKBONE,
            layers=2,
            ffn_dim=256,
            num_codes=64,
            revival=0.7,
        ),
        task=SohoPretrainingConfig(mask_rate=0.25, tagging_steps=450, codebook_samples=4000),
        data=small.WORLD_DATA,
        optim=replace(small.SMALL_WORLD_OPTIM, freeze_backbone=20.0),
        train=small.SMALL_WORLD_TRAIN,
    )


def world() -> RunConfig:
    """The drawn world, half an hour on two cores: the model uses the picture.

    The CNN first learns the words of the captions (`tagging_steps`), in place of ImageNet weights;
    then it is frozen for half of the steps that are left and goes on at a twentieth of its rate.
    """
    return RunConfig(
        name="soho_world",
        steps=9900,
        # A third of the mean number of hits: the least used codes move to where the rows are.
        model=replace(SMALL, backbone=replace(small.BACKBONE, stem="small"), revival=0.7),
        task=SohoPretrainingConfig(mask_rate=0.25, tagging_steps=3000),
        data=small.WORLD_DATA,
        # AdamW, because it tags sooner than SGD: loss 18.1 against 20.0 after 300 steps.
        optim=replace(
            SMALL_OPTIM,
            backbone_optimizer="adamw",
            backbone_lr=1.8e-3,
            backbone_weight_decay=0.01,
            freeze_backbone=8.0,
            freeze_statistics=True,
            thaw_scale=0.05,
        ),
        train=TrainConfig(batch_size=24, log_every=50, evaluate_every=3300, checkpoint_every=3300),
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {
    "soho_tiny": tiny,
    "soho_small_world": small_world,
    "soho_world": world,
    "soho_r18_3_official": official,
    "soho_r18_3": lambda: paper("soho_r18_3"),
    "soho_r50_12": lambda: paper("soho_r50_12"),
    "soho_r101_12": lambda: paper("soho_r101_12"),
}
