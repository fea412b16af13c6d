"""A dictionary that starts from data: k-means over features of the first batches.

The paper starts at random; from N(0, 1) a handful of codes survive (docs/paper_gaps.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vlp_fast.errors import InputError
from vlp_fast.models.soho import Soho
from vlp_fast.tasks.held_out import Runtime
from vlp_fast.tasks.sharing import FirstShards


@torch.no_grad()
def start_codebook(
    model: Soho,
    batches: FirstShards,
    runtime: Runtime,
    *,
    count: int,
    wanted: int,
    shards: int,
    seed: int,
) -> str:
    """Fill the dictionary from features of the first batches; returns a line about it.

    Processes share the pictures and have all features; k-means is computed by each, to the same
    bits.

    Args:
        model: in training mode.
        batches: of images with their grids and sizes.
        runtime: where to compute.
        count: of batches, at most.
        wanted: how many features.
        shards: batches whose features move the codes at once.
        seed: of k-means.

    Raises:
        InputError: if there are fewer features than codes, or too few finite ones.
    """

    def measure(inputs: Any) -> Tensor:
        with runtime.autocast():
            return model.features(inputs.images, inputs.grid, inputs.image_sizes).float()

    features: list[Tensor] = []
    model.eval()
    for found in batches.measured(count, measure):
        features.append(found)
        if sum(map(len, features)) >= wanted:
            break
    model.train()
    rows = torch.cat(features).to(runtime.device)
    per_step = len(rows) / len(features) * shards
    rows = rows[:wanted]
    finite = rows[rows.isfinite().all(dim=1)]
    lost = len(rows) - len(finite)
    _check(len(finite), lost, model.config.num_codes)
    model.dictionary.initialise_from(finite, rows_per_step=per_step, seed=seed, is_shared=True)
    without = f", without {lost} that are not finite" if lost else ""
    return (
        f"dictionary: {model.config.num_codes} codes from k-means over {len(finite)} features"
        f"{without}"
    )


def _check(finite: int, lost: int, codes: int) -> None:
    if finite >= codes:
        return
    if lost:
        raise InputError(
            f"{lost} of the first {finite + lost} features for the dictionary are not finite: the "
            "CNN has diverged; lower --optim.backbone-lr and --optim.lr, or use "
            "--train.precision fp32, in another --run-dir"
        )
    raise InputError(
        f"the first batches hold {finite} features, too few for {codes} codes; raise "
        "--task.codebook-samples or lower --model.num-codes"
    )
