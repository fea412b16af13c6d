"""A dictionary that starts from data: k-means over features of the first batches.

The paper starts at random; from N(0, 1) a handful of codes survive (docs/paper_gaps.md).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from vlp_fast.engine.experiment import Experiment
from vlp_fast.errors import InputError
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.soho import SohoInputs


@torch.no_grad()
def start_codebook(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Fill the dictionary from the first batches, if the model asks for data; else do nothing."""
    model, run = experiment.model, experiment.run
    if not isinstance(model, Soho) or model.config.codebook_init != "data":
        return
    features, rows = [], 0
    steps = -(-run.train.codebook_samples // max(run.train.batch_size, 1))
    model.eval()
    for _, inputs in experiment.batches(0, steps):
        assert isinstance(inputs, SohoInputs)
        moved = inputs.to(experiment.precision.device)
        with experiment.precision.autocast():
            features.append(model.features(moved.images, moved.grid, moved.image_sizes).float())
        rows += features[-1].size(0)
        if rows >= run.train.codebook_samples:
            break
    model.train()
    if rows < model.config.num_codes:
        raise InputError(
            f"the first batches hold {rows} features, too few for {model.config.num_codes} codes; "
            "raise --train.codebook-samples or lower --model.num-codes"
        )
    model.dictionary.initialise_from(
        torch.cat(features)[: run.train.codebook_samples], seed=run.train.seed
    )
    say(f"dictionary: {model.config.num_codes} codes from k-means over {rows} features")
