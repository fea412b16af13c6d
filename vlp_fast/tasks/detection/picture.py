"""Boxes in report.png: what is found in held-out pictures, a row for each text beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlp_fast.data.examples import Example
from vlp_fast.data.printable import printable
from vlp_fast.data.transforms import shown
from vlp_fast.ops.boxes import cxcywh_to_xyxy
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.detection.set_prediction import Prediction, read_out
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.titles import wrapped

if TYPE_CHECKING:
    from vlp_fast.tasks.detection.detection import Detection

SHOWN = 4
SCORE = 0.5
"""Boxes of at least this score are drawn."""


def draw_columns(task: Detection, figure: Any, held_out: HeldOut) -> None:
    """A row of pictures for each text, with what is found beside it."""
    axes = figure.subplots(len(task.texts), SHOWN, squeeze=False)
    for place, example in enumerate(held_out.examples(SHOWN)):
        # Each alone: beside others it would be padded, and the CNN moves boxes near padding.
        inputs = task.collate([example], BatchKey(task.held_out, 0, None))
        inputs = inputs.to(held_out.runtime.device)
        with held_out.runtime.autocast():
            found = task.detect(task.learner, inputs)
        corners = cxcywh_to_xyxy(found.boxes[-1].float()).clamp(0, 1)
        ids = inputs.text_ids.split(inputs.packing.text_lengths)
        for row, prediction in enumerate(read_out(found.logits[-1], corners, None)):
            draw_found(axes[row, place], example, prediction, task.held_out.class_names)
            text = task.tokenizer.decode(ids[row].tolist()[1:-1])
            axes[row, place].set_title(
                f"{task.texts[row]} text{': ' if text else ''}{wrapped(text)}",
                fontsize=9,
            )
    for axis in axes.flatten():
        axis.axis("off")


def draw_found(
    axis: Any, example: Example, found: Prediction, class_names: tuple[str, ...]
) -> None:
    """A picture with the boxes that the model is sure of."""
    axis.imshow(shown(example.pixels).numpy())
    height, width = example.size
    for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
        if score >= SCORE:
            _draw_box(axis, (box * box.new_tensor([width, height] * 2)).tolist())
            axis.text(
                float(box[0]) * width,
                float(box[1]) * height,
                printable(class_names[int(label)]),
                fontsize=7,
                color="black",
                backgroundcolor="white",
            )
    axis.axis("off")


def _draw_box(axis: Any, corners: list[float]) -> None:
    x1, y1, x2, y2 = corners
    axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="black", linewidth=2.5)
    axis.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="yellow", linewidth=1.2)
