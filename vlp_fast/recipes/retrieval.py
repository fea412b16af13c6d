"""Image-text retrieval of both papers, and small ones for a laptop.

What the papers leave open is in docs/paper_gaps.md; `--data.root` decides which pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from vlp_fast.engine.config import OptimConfig, RunConfig, TrainConfig
from vlp_fast.models.config import model_config
from vlp_fast.recipes import e2e_vlp, soho
from vlp_fast.tasks.retrieval.config import (
    BinaryRetrievalConfig,
    CircleRetrievalConfig,
    RetrievalConfig,
)

TEXT_LENGTH = 40
"""Tokens: 12 % of COCO's captions have more than SOHO's 16 of pre-training, .02 % more than 40."""
HELD_OUT = 1000
"""Pictures that an evaluation in training ranks: a million pairs and more."""


def soho_paper(model: str) -> RunConfig:
    """SOHO's (section 4.2.1), of COCO or Flickr30k: 24 pictures, each with all 24 texts.

    AdamW at 1e-4 for everything, halved after epochs 3, 5, 9 and 13 of 20. An epoch shows each
    picture once, with one of its captions.
    """
    base = soho.paper(model)
    return _fine_tuned(
        base,
        model,
        BinaryRetrievalConfig(),
        optim=replace(
            base.optim,
            backbone_optimizer="adamw",
            backbone_lr=1e-4,
            backbone_weight_decay=1e-2,
            decay_epochs=(3.0, 5.0, 9.0, 13.0),
            decay_factor=0.5,
            freeze_backbone=0.0,
            warmup_steps=0,
        ),
        train=replace(base.train, batch_size=24, shards=1, epochs=20.0),
    )


def e2e_vlp_paper(model: str) -> RunConfig:
    """E2E-VLP's (section 5.1), of Flickr30k: 64 pairs a step, rate 5e-5, 4 epochs of all pairs.

    These are 20 of pictures with five captions each.
    """
    base = e2e_vlp.paper(model)
    return _fine_tuned(
        base,
        model,
        CircleRetrievalConfig(),
        optim=replace(base.optim, lr=5e-5, decay_epochs=()),
        train=replace(base.train, batch_size=16, shards=4, epochs=20.0),
    )


def _fine_tuned(
    base: RunConfig, model: str, task: RetrievalConfig, *, optim: OptimConfig, train: TrainConfig
) -> RunConfig:
    return replace(
        base,
        name=f"retrieval_{model}",
        model=model_config(model),
        init=(Path("runs") / model,),
        task=task,
        data=replace(base.data, max_text_length=TEXT_LENGTH),
        optim=optim,
        train=replace(train, held_out_images=HELD_OUT),
    )


def small(name: str, base: Callable[[], RunConfig], steps: int) -> RunConfig:
    """Drawn pictures with one full description each, from the small pre-training that --init gives.

    Make them with `vlp-fast data make-world runs/described --captions descriptions --bounds small
    --images 20000`: of fewer pictures a model soon knows all by heart, and without hard texts it
    learns no relations (docs/measurements.md).
    """
    run = base()
    is_pretrained = name.endswith("world")
    task = BinaryRetrievalConfig if "soho" in name else CircleRetrievalConfig
    return replace(
        run,
        name=f"retrieval_{name}",
        steps=steps,
        task=task(hard_texts=4 if is_pretrained else 0),
        optim=replace(
            run.optim,
            lr=run.optim.lr / (2 if is_pretrained else 1),
            backbone_lr=run.optim.backbone_lr / (10 if is_pretrained else 1),
            freeze_backbone=0.0,
            freeze_statistics=True,
        ),
        train=replace(
            run.train,
            batch_size=16,
            held_out_images=200,
            evaluate_every=0,
            checkpoint_every=min(250, steps // 3),
        ),
    )


def _recipes() -> Iterator[tuple[str, Callable[[], RunConfig]]]:
    for name, base, steps in SMALL_BASES:
        yield f"retrieval_{name}", partial(small, name, base, steps)
    for model in ("soho_r18_3", "soho_r101_12"):
        yield f"retrieval_{model}", partial(soho_paper, model)
    for depth in (50, 101, 152):
        for layers in (6, 12):
            model = f"e2e_vlp_r{depth}_{layers}"
            yield f"retrieval_{model}", partial(e2e_vlp_paper, model)


SMALL_BASES: tuple[tuple[str, Callable[[], RunConfig], int], ...] = (
    ("soho_tiny", soho.tiny, 100),
    ("soho_small_world", soho.small_world, 4000),
    ("e2e_vlp_tiny", e2e_vlp.tiny, 100),
    ("e2e_vlp_small_world", e2e_vlp.small_world, 4000),
)
RECIPES: dict[str, Callable[[], RunConfig]] = dict(_recipes())
