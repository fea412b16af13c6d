"""The part of report.png that shows what downstream tasks answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.printable import printable
from vlp_fast.data.transforms import shown
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.titles import wrapped

if TYPE_CHECKING:
    from vlp_fast.tasks.downstream.sample_task import SampleTask

COLUMNS, ROWS = 4, 2
GAP = 4
"""White pixels between the pictures of one sample."""


def draw_answers(task: SampleTask, figure: Any, held_out: HeldOut) -> None:
    """Held-out samples, evenly spread: pictures, text, the model's answer and the truth."""
    count = min(COLUMNS * ROWS, held_out.count)
    places = torch.linspace(0, held_out.count - 1, count).round().int().tolist()
    examples = [task.held_out_examples.load(held_out.indices[place], 0) for place in places]
    inputs = task.collate(examples, BatchKey(task.held_out, 0, None)).to(held_out.runtime.device)
    with held_out.runtime.autocast():
        answers = map(task.answer, task.logits(task.learner, inputs).argmax(-1).tolist())
    axes = figure.subplots(ROWS, COLUMNS, squeeze=False).flatten()
    for axis, example, answer in zip(axes, examples, answers, strict=False):
        axis.imshow(side_by_side([shown(p.pixels) for p in example.pictures]).numpy())
        truth = task.truth(example.sample)
        told = f"{answer}" if truth in (None, answer) else f"{answer}, not {truth}"
        axis.set_title(f"{wrapped(task.text(example.sample))}\n-> {printable(told)}", fontsize=9)
    for axis in axes:
        axis.axis("off")


def side_by_side(pictures: list[Tensor]) -> Tensor:
    """One (H, W, 3) picture of several, white where one is lower than another."""
    height = max(picture.shape[0] for picture in pictures)
    gap = pictures[0].new_ones(height, GAP, 3)
    parts = [gap]
    for picture in pictures:
        low = (0, 0, 0, 0, 0, height - picture.shape[0])
        parts += [functional.pad(picture, low, value=1.0), gap]
    return torch.cat(parts[1:-1], dim=1)
