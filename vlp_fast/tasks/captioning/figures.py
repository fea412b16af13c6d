"""Held-out figures of captioning: what is written beside what people wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from vlp_fast.data.sources.drawn_world import SceneTruth
from vlp_fast.metrics.caption.caption_score import CaptionScore
from vlp_fast.tasks.averages import Averages, output_sums
from vlp_fast.tasks.caption_truth import CaptionTruth
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.task import Figures

if TYPE_CHECKING:
    from vlp_fast.tasks.captioning.captioning import Captioning, CaptionInputs

Written = dict[int, tuple[str, ...]]
"""Number of a picture: its captions, one of each way to write them."""


def caption_figures(task: Captioning, held_out: HeldOut) -> Figures:
    """Loss and accuracy with the words before given; scores of captions by search, and greedily.

    A picture that is broken has an empty caption, as it would be handed in. On the drawn world,
    which knows what is true: shares of captions whose colours and shapes are there.
    """
    widths = task.settings.widths
    averages, captions = Averages(), dict.fromkeys(held_out.indices, ("",) * len(widths))
    for names, sums, written in captions_of(task, held_out, widths):
        averages.add_sums(names, sums)
        captions |= written
    figures = averages.means()
    for place, width in enumerate(widths):
        prefix = "greedy_" if width == 1 and place else ""
        texts = {index: written[place] for index, written in captions.items()}
        found = _scores(task, texts) | _truth(task, texts)
        figures |= {f"{prefix}{name}": value for name, value in found.items()}
    return figures


def remarks_on(held_out: HeldOut) -> list[str]:
    """What scores of captions are of, besides the pictures."""
    records, whole = held_out.task.held_out.records, held_out.task.held_out
    references = sum(len(records[index].captions) for index in held_out.indices)
    found = [
        f"captions are judged by {references:,} of people about {held_out.count:,} pictures, in "
        "PTB tokens"
    ]
    if held_out.count < len(whole):
        found.append(
            f"{held_out.count:,} of {len(whole):,} pictures of {whole.name}: CIDEr and BLEU of a "
            "part are other figures than those of the whole"
        )
    return found


def all_captions(task: Captioning, held_out: HeldOut) -> dict[int, str]:
    """The caption of each held-out picture by its number, by search; none of a broken one."""
    captions: dict[int, str] = {}
    for *_, written in captions_of(task, held_out, (task.settings.beams,)):
        captions |= {index: text for index, (text,) in written.items()}
    return dict(sorted(captions.items()))


def captions_of(
    task: Captioning, held_out: HeldOut, widths: tuple[int, ...]
) -> Iterator[tuple[tuple[str, ...], Tensor, Written]]:
    """Names and sums of each held-out batch's losses, and captions of pictures that can be read.

    Args:
        task: with a trained learner.
        held_out: the pictures.
        widths: beams of each search.
    """

    def measure(inputs: CaptionInputs) -> tuple[tuple[str, ...], Tensor, Written]:
        with held_out.runtime.autocast():
            memory = task.memory(inputs)
            output = task.taught(memory, inputs)
            written = zip(*(task.written(memory, inputs, beams=n) for n in widths), strict=True)
        shown = zip(inputs.indices, inputs.is_broken, written, strict=True)
        return *output_sums(output), {i: texts for i, broken, texts in shown if not broken}

    return held_out.measured(measure)


def _scores(task: Captioning, texts: dict[int, str]) -> Figures:
    """In percent, by the captions of people."""
    records, dataset = task.held_out.records, task.held_out
    score = CaptionScore(dataset.name, range(len(records)), is_part=len(texts) < len(records))
    for index, text in texts.items():
        score.add(index, text, records[index].captions)
    return {name.replace(" ", "_"): value for name, value in score.figures().items()}


def _truth(task: Captioning, texts: dict[int, str]) -> Figures:
    known = task.held_out.describes
    if not isinstance(known, SceneTruth):
        return {}
    truth = CaptionTruth()
    for index, text in texts.items():
        truth.add(known.scenes[index], text)
    return truth.figures()
