"""Tasks that rank the training split of a small world, and scores by a plain pass of the model."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rebuilt import with_setup
from sample_tasks import Build, Cpu

from vlp_fast.ops.packing import make_packing
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.retrieval.contest import Contest
from vlp_fast.tasks.retrieval.held_out_scores import HeldOutScores

PICTURES = 12


def ranking_task(build: Build, name: str = "binary", model: str = "soho", **settings: Any) -> Any:
    """A task with as many held-out pictures, whose model tells pairs apart."""
    made: Any = build(name, model, **settings)
    data = replace(made.setup.data, held_out_split="train")
    torch.manual_seed(0)
    task = with_setup(made, data=data, held_out_images=PICTURES)
    with torch.no_grad():  # at its start the head sees hardly a difference
        for parameter in task.learner.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    task.learner.eval()
    return task


def held_out(task: Any, **changes: Any) -> HeldOut:
    return HeldOut(task=task, runtime=Cpu(), batch_size=6, **changes)


def scores_of(task: Any, held_out: HeldOut, contest: Contest) -> np.ndarray:
    """(B, S), as an evaluation has them; what is kept stays."""
    return HeldOutScores(task, held_out).of(contest)


@torch.no_grad()
def plain_scores(task: Any, indices: list[int], captions: list[str]) -> np.ndarray:
    """(B, S) by `read`, a picture at a time, with all of its rows to the last layer."""
    model, texts = task.learner.model, [task.encode(caption) for caption in captions]
    ids = torch.tensor([token for text in texts for token in text])
    rows = []
    for index in indices:
        images, sizes, grid = batch_images([task.show_held_out(index)], model)
        packing = make_packing([len(text) for text in texts], [0] * len(texts), grid)
        seen = model.see(images, grid, sizes, codes=task.settings.codes)
        hidden = model.read(ids, seen, grid, packing)
        logits = model.match_logits(hidden[packing.first_rows])
        rows.append((logits[:, 1] - logits[:, 0]).numpy())
    return np.stack(rows)
