"""A CNN that is frozen and random, for a while or in part, passes on noise."""

from __future__ import annotations

from vlp_fast.engine.experiment import Experiment
from vlp_fast.errors import InputError


def refuse_frozen_noise(experiment: Experiment) -> None:
    """Refuse a run that begins with a frozen CNN without weights.

    Raises:
        InputError: with the options that give it weights, or train it.
    """
    backbone = experiment.run.model.backbone
    given = (name for loaded in experiment.task.loaded for name in loaded.loaded)
    if any(name.startswith("backbone.") for name in given):
        return
    starts_frozen = experiment.phase(0).frozen_stages is None
    if backbone.norm == "frozen" or backbone.freeze_stages > 0 or starts_frozen:
        raise InputError(
            f"{experiment.run.name} starts with a frozen CNN (in whole or in part), which needs "
            "weights: give a torchvision ResNet's state dict with --init, or "
            "train it from scratch by --model.backbone.norm batch "
            "--model.backbone.freeze-stages 0 --optim.freeze-backbone 0"
        )
