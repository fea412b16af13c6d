"""A dictionary that starts from data: k-means over features of the first batches.

The paper starts at random; from N(0, 1) a handful of codes survive (docs/paper_gaps.md).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vlp_fast.engine.experiment import Experiment
from vlp_fast.errors import InputError
from vlp_fast.models.soho import Soho


@torch.no_grad()
def start_codebook(experiment: Experiment, say: Callable[[str], None]) -> None:
    """Fill the dictionary from the first batches, if the model asks for data; else do nothing."""
    model, run = experiment.model, experiment.run
    if not isinstance(model, Soho) or model.config.codebook_init != "data":
        return
    wanted = run.train.codebook_samples
    features: list[Tensor] = []
    model.eval()
    for _, inputs in experiment.batches(0, -(-wanted // run.train.batch_size)):
        moved = inputs.to(experiment.precision.device)
        with experiment.precision.autocast():
            features.append(model.features(moved.images, moved.grid, moved.image_sizes).float())
        if sum(map(len, features)) >= wanted:
            break
    model.train()
    rows = torch.cat(features)
    per_step = len(rows) / len(features) * model.dictionary.processes.count
    rows = rows[:wanted]
    finite = int(rows.isfinite().all(dim=1).sum())
    if finite < model.config.num_codes:
        broken = f" besides {len(rows) - finite} with NaN or infinity" if finite < len(rows) else ""
        raise InputError(
            f"the first batches hold {finite} features{broken}, too few for "
            f"{model.config.num_codes} codes; raise --train.codebook-samples or lower "
            "--model.num-codes"
        )
    model.dictionary.initialise_from(rows, rows_per_step=per_step, seed=run.train.seed)
    say(f"dictionary: {model.config.num_codes} codes from k-means over {len(rows)} features")
