"""The part of report.png that shows what captioning writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlp_fast.data.transforms import shown
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.titles import wrapped

if TYPE_CHECKING:
    from vlp_fast.tasks.captioning.captioning import Captioning

COLUMNS, ROWS = 4, 2
LINES = 3
"""Of a caption."""


def draw_captions(task: Captioning, figure: Any, held_out: HeldOut) -> None:
    """Held-out pictures, evenly spread: the caption that is written, and one of people's."""
    axes = figure.subplots(ROWS, COLUMNS, squeeze=False).flatten()
    for axis, example in zip(axes, held_out.examples(len(axes)), strict=False):
        # Each alone: beside others it would be padded.
        inputs = task.collate([example], BatchKey(task.held_out, 0, None))
        inputs = inputs.to(held_out.runtime.device)
        with held_out.runtime.autocast():
            (text,) = task.written(task.memory(inputs), inputs, beams=task.settings.beams)
        axis.imshow(shown(example.pixels).numpy())
        people = [f"(people: {caption})" for caption in example.captions[:1]]
        texts = text or "(no word)", *people
        axis.set_title("\n".join(wrapped(t, lines=LINES) for t in texts), fontsize=9)
    for axis in axes:
        axis.axis("off")
