"""Held-out figures of detection: COCO's protocol in a column for each text.

A picture that is broken has no answer; its objects count all the same, as they would on the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vlp_fast.data.randomness import generator
from vlp_fast.metrics.boxes import FoundBoxes, TrueBoxes
from vlp_fast.metrics.coco_protocol import coco_numbers, is_available
from vlp_fast.metrics.pair_precision import pair_curves
from vlp_fast.metrics.precision_curves import PrecisionCurves
from vlp_fast.models.e2e_vlp import Detections
from vlp_fast.tasks.averages import Averages, output_sums
from vlp_fast.tasks.detection.answers import Answer, Answers, answers_of, found_boxes, true_boxes
from vlp_fast.tasks.detection.batch import DetectionInputs
from vlp_fast.tasks.detection.set_prediction import matched_attribute_accuracy
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.task import Figures

if TYPE_CHECKING:
    from vlp_fast.tasks.detection.detection import Detection

GAINS = {"text_gain": ("own", "no"), "foreign_loss": ("no", "foreign")}
"""Differences of AP between two columns."""
WIDTH = 1.96
"""Standard deviations to either side of a figure: 95 %. AP of a resample is larger in the mean, for
a class of few objects is found whole or not at all, so its quantiles are no interval."""


def detection_figures(task: Detection, held_out: HeldOut) -> Figures:
    """Losses of the first column, and COCO's twelve numbers of each, with attributes if any."""
    averages = Averages()
    columns: dict[str, dict[int | str, Answer]] = {text: {} for text in task.texts}

    def measure(inputs: DetectionInputs) -> tuple[tuple[str, ...], Tensor, list[Answers]]:
        with held_out.runtime.autocast():
            found = task.detect(task.learner, inputs)
            names, sums = output_sums(task.output(found, inputs))
            more, counts = _matched(task, found, inputs)
        return (*names, *more), torch.cat([sums, counts]), answers_of(found, inputs)

    for names, sums, found in held_out.measured(measure):
        averages.add_sums(names, sums)
        for text, answers in zip(columns, found, strict=True):
            columns[text].update(answers)
    figures = averages.means()
    return figures | (_precisions(task, held_out, columns) if is_available() else {})


def all_answers(task: Detection, held_out: HeldOut) -> Answers:
    """What is found in each held-out picture with the text of the first column."""

    def measure(inputs: DetectionInputs) -> Answers:
        with held_out.runtime.autocast():
            found = task.detect(task.learner, inputs)
        return answers_of(found, inputs)[0]

    answers: dict[int | str, Answer] = {}
    for found in held_out.measured(measure):
        answers.update(found)
    return answers


def _matched(
    task: Detection, found: Detections, inputs: DetectionInputs
) -> tuple[tuple[str, ...], Tensor]:
    """Of the queries matched to an object, who names its class and attribute, in each column."""
    kinds, count = found.attribute_logits, len(inputs.image_ids)
    sums: dict[str, Tensor] = {}
    for number, text in enumerate(task.texts if kinds is not None else ()):
        assert kinds is not None
        own = slice(number * count, (number + 1) * count)
        counts = matched_attribute_accuracy(
            found.logits[-1, own], found.boxes[-1, own], kinds[-1, own], inputs.targets
        )
        for name, both in counts.items():
            sums[f"{name}_{text}_text"] = torch.stack([part.double() for part in both])
    none = torch.zeros(0, 2, dtype=torch.float64, device=found.logits.device)
    return tuple(sums), torch.cat([none, *(row[None] for row in sums.values())])


def _precisions(task: Detection, held_out: HeldOut, columns: Mapping[str, Answers]) -> Figures:
    """All that compares boxes with the annotations of the images that anybody has annotated."""
    ids = task.held_out.table.image_ids
    annotations = task.annotations.of(ids[index] for index in held_out.indices)
    images = sorted(annotations.listed.tolist())
    truth = true_boxes(annotations, images)
    figures: Figures = {}
    curves: dict[str, PrecisionCurves] = {}
    for text, answers in columns.items():
        column = [answers.get(image) for image in images]
        found = found_boxes(column)
        numbers = coco_numbers(
            truth, found, num_pictures=len(images), num_classes=len(annotations.class_names)
        )
        figures |= {f"{n}_{text}_text": value for n, value in numbers.items() if value >= 0}
        if task.settings.resamples:
            curves[text] = PrecisionCurves(truth, found, num_pictures=len(images))
        if (value := _pairs(task, truth, annotations.attributes, found, column)) is not None:
            figures[f"ap_attribute_{text}_text"] = value
    figures |= _gains(figures)
    return figures | _intervals(figures, curves, len(images), task.settings.resamples)


def _pairs(
    task: Detection,
    truth: TrueBoxes,
    attributes: np.ndarray,
    found: FoundBoxes,
    column: list[Answer | None],
) -> float | None:
    """AP over pairs of class and attribute, whose score is the product of both."""
    if not (attributes >= 0).any() or task.model.attribute_head is None:
        return None
    known = [answer for answer in column if answer is not None]
    kinds = [a.attributes for a in known if a.attributes is not None]
    shares = [a.attribute_scores for a in known if a.attribute_scores is not None]
    curves = pair_curves(
        truth,
        attributes,
        replace(found, scores=found.scores * np.concatenate([found.scores[:0], *shares])),
        np.concatenate([found.labels[:0], *kinds]),
        num_pictures=len(column),
        num_attributes=len(task.train.attribute_names),
    )
    return curves.average_precision()


def _gains(figures: Figures) -> Figures:
    """What the right text adds to AP, and what a wrong one takes from it."""
    ap = {text: figures.get(f"ap_{text}_text") for text in ("own", "no", "foreign")}
    found = {name: (ap[more], ap[less]) for name, (more, less) in GAINS.items()}
    return {name: a - b for name, (a, b) in found.items() if a is not None and b is not None}


def _intervals(
    figures: Figures, curves: dict[str, PrecisionCurves], pictures: int, resamples: int
) -> Figures:
    """Bounds of AP, and of what a text adds to it, from resamples of the pictures.

    Resamples are the same for all columns, so that pictures which are hard with any text do not
    widen the differences.
    """
    if not resamples or not pictures:
        return {}
    draw = generator(0, 0, pictures, "resamples")
    weights = draw.multinomial(pictures, [1 / pictures] * pictures, size=resamples).astype(float)
    drawn = {text: curve.average_precisions(weights) for text, curve in curves.items()}
    bounds: Figures = {}
    for text, values in drawn.items():
        bounds |= _bounds(f"ap_{{}}_{text}_text", figures.get(f"ap_{text}_text"), values)
    for name, (more, less) in GAINS.items():
        if name in figures:
            bounds |= _bounds(f"{name}_{{}}", figures[name], drawn[more] - drawn[less])
    return bounds


def _bounds(name: str, value: float | None, drawn: np.ndarray) -> Figures:
    known = drawn[~np.isnan(drawn)]  # not those without an object
    if value is None or len(known) < 2:
        return {}
    deviation = float(known.std(ddof=1))
    sides = {"low": value - WIDTH * deviation, "high": value + WIDTH * deviation}
    return {name.format(side): bound for side, bound in sides.items()}
