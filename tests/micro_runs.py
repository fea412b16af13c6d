"""The tiny recipes made tinier: a world of 60 small pictures, 6 steps, a second each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vlp_fast.engine.config import RunConfig
from vlp_fast.models.config import BackboneConfig
from vlp_fast.recipes import recipe

Make = Callable[..., RunConfig]
Once = Callable[[str, Callable[[Path], object]], Path]
BACKBONE = BackboneConfig(
    depth=None, block="basic", blocks=(1, 1), widths=(16, 32), stem="imagenet", norm="batch"
)


@pytest.fixture(scope="session")
def micro(small_world: Path) -> Make:
    """micro(recipe name, run folder) is a run of a few hundred thousand parameters.

    Further words are settings of `train`.
    """

    def make(name: str, folder: Path, *, steps: int = 6, **train: object) -> RunConfig:
        run = recipe(name)
        settings = {"batch_size": 6, "log_every": 1, "held_out_images": 3, "picture": False}
        settings |= train
        run = replace(
            run,
            run_dir=folder,
            steps=steps,
            data=replace(
                run.data,
                root=small_world,
                shorter=None,
                shorter_held_out=None,
                longer=None,
                num_workers=0,
            ),
            optim=replace(run.optim, warmup_steps=2),
            train=replace(run.train, **settings),
        )
        run = replace(run, task=replace(run.task, tagging_steps=2 if steps > 2 else 0))
        if name.startswith("soho"):
            run = replace(run, task=replace(run.task, codebook_samples=300))
            model = replace(run.model, backbone=BACKBONE, width=64, layers=2, num_codes=32)
            # Dropout is on: its randomness must be resumed too.
            return replace(run, model=replace(model, dropout=0.1))
        model = replace(run.model, backbone=BACKBONE, width=64, num_heads=2, encoder_layers=2)
        return replace(run, model=replace(model, decoder_layers=2, num_queries=10, dropout=0.1))

    return make


@pytest.fixture(scope="session", params=["soho_tiny", "e2e_vlp_tiny"])
def finished(request: pytest.FixtureRequest, micro: Make, once: Once) -> RunConfig:
    """A run of either system, with everything in its folder; to be read only."""
    from vlp_fast.engine.trainer import train

    run_in = lambda folder: micro(request.param, folder / "run", steps=4)
    return run_in(once(f"finished-{request.param}", lambda folder: train(run_in(folder))))
