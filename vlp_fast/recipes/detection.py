"""Detection with paired text (E2E-VLP section 5.8), and small runs of it for a laptop.

The paper gives no batch, epochs or rate: those of its other downstream tasks are taken (section
5.1), and its numbers are of COCO's official splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from vlp_fast.engine.config import RunConfig
from vlp_fast.models.config import model_config
from vlp_fast.recipes import e2e_vlp
from vlp_fast.tasks.detection.config import DetectionConfig

DECAY = (6.0, 9.0)
"""Epochs after which rates are divided by ten."""
TINY_TASK = DetectionConfig(textless_rate=0.5)
# Weights as in the small pre-training, at whose rates they were found.
WORLD_TASK = replace(
    TINY_TASK, class_weight=0.4, bbox_weight=2.0, giou_weight=0.8, attribute_weight=0.4
)


def paper(model: str) -> RunConfig:
    """Table 7 with the model of that name: 32 pictures a step, 12 epochs."""
    base = e2e_vlp.paper(model)
    return replace(
        base,
        name=f"detection_{model}",
        model=model_config(model),
        init=(Path("runs") / model,),
        task=DetectionConfig(),
        data=replace(base.data, layout="coco"),
        optim=replace(base.optim, decay_epochs=DECAY),
        train=replace(base.train, epochs=12.0, held_out_images=10**6),
    )


def tiny() -> RunConfig:
    """About a minute on two cores: the loss falls; nothing is learnt well."""
    return replace(e2e_vlp.tiny(), name="detection_e2e_vlp_tiny", task=TINY_TASK)


def small_run(name: str, make_base: Callable[[], RunConfig], steps: int) -> RunConfig:
    """Detection on the drawn world, from the small pre-training run that --init gives.

    Half of the pictures come without their caption, or figures without one would be of input that
    the model never saw.
    """
    base = make_base()
    return replace(
        base,
        name=f"detection_{name}",
        steps=steps,
        task=WORLD_TASK,
        optim=replace(base.optim, lr=base.optim.lr / 4, freeze_backbone=0.0),
        train=replace(
            base.train, evaluate_every=0, checkpoint_every=steps // 4, held_out_images=10**6
        ),
    )


def _recipes() -> Iterator[tuple[str, Callable[[], RunConfig]]]:
    yield "detection_e2e_vlp_tiny", tiny
    for name, base, steps in (
        ("e2e_vlp_small_world", e2e_vlp.small_world, 800),
        ("e2e_vlp_world", e2e_vlp.world, 3000),
    ):
        yield f"detection_{name}", partial(small_run, name, base, steps)
    for depth in (50, 101, 152):
        for layers in (6, 12):
            model = f"e2e_vlp_r{depth}_{layers}"
            yield f"detection_{model}", partial(paper, model)


RECIPES: dict[str, Callable[[], RunConfig]] = dict(_recipes())
