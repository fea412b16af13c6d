"""Captioning by E2E-VLP (section 5.1): 12 epochs, the rate divided by ten after 6 and 9.

The paper does not say how much it smooths labels, nor the batch; 32 as in its other tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from vlp_fast.engine.config import RunConfig
from vlp_fast.recipes import e2e_vlp
from vlp_fast.tasks.captioning.config import CaptioningConfig

PREFIX = "captioning"
ALL = 10**6
"""Held-out pictures: scores of a part are other figures."""


def paper(model: str) -> RunConfig:
    """The paper's, from its own pre-training; Karpathy's split, measured on his val."""
    base = e2e_vlp.paper(model)
    return replace(
        base,
        name=f"{PREFIX}_{model}",
        task=CaptioningConfig(),
        init=(Path("runs") / model,),
        optim=replace(base.optim, decay_epochs=(6.0, 9.0)),
        train=replace(base.train, epochs=12.0, held_out_images=ALL),
    )


def small_run(make_base: Callable[[], RunConfig], steps: int) -> RunConfig:
    """On small pictures, from the small pre-training run that --init gives."""
    base = make_base()
    is_pretrained = base.name.endswith("world")
    return replace(
        base,
        name=f"{PREFIX}_{base.name}",
        steps=steps,
        task=CaptioningConfig(),
        optim=replace(base.optim, freeze_backbone=0.0, freeze_statistics=is_pretrained),
        train=replace(
            base.train,
            batch_size=32 if is_pretrained else 16,
            held_out_images=ALL,
            evaluate_every=0,
            checkpoint_every=min(500, steps // 3),
        ),
    )


def _recipes() -> Iterator[tuple[str, Callable[[], RunConfig]]]:
    small = {"e2e_vlp_tiny": 300, "e2e_vlp_small_world": 3000, "e2e_vlp_world": 6000}
    for name, steps in small.items():
        yield f"{PREFIX}_{name}", partial(small_run, e2e_vlp.RECIPES[name], steps)
    for depth in (50, 101, 152):
        for layers in (6, 12):
            model = f"e2e_vlp_r{depth}_{layers}"
            yield f"{PREFIX}_{model}", partial(paper, model)


RECIPES: dict[str, Callable[[], RunConfig]] = dict(_recipes())
