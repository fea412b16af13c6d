"""Held-out figures of a task over samples: each sample counts once, whatever its batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vlp_fast.data.randomness import generator
from vlp_fast.data.sample_loader import SampleExample
from vlp_fast.metrics.score import Score
from vlp_fast.tasks.averages import Averages, output_sums
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.downstream.sample_batch import SampleInputs
from vlp_fast.tasks.held_out import HeldOut
from vlp_fast.tasks.task import Figures

if TYPE_CHECKING:
    from vlp_fast.tasks.downstream.sample_task import SampleTask

DRAWS = 64
"""Of another sample, to find one of other pictures."""


def answered(
    task: SampleTask, held_out: HeldOut
) -> Iterator[tuple[tuple[str, ...], Tensor, dict[int, Any]]]:
    """Names and sums of each held-out batch's losses, and the answers to its samples by number.

    A sample whose picture is broken has the answer None: what is shown in its place says nothing
    about it, and is a sample of its own.
    """

    def measure(inputs: SampleInputs) -> tuple[tuple[str, ...], Tensor, list[tuple[int, Any]]]:
        with held_out.runtime.autocast():
            logits = task.logits(task.learner, inputs)
            output = task.output(logits, inputs.targets)
        places = logits.argmax(-1).tolist()
        of = zip(inputs.asked, inputs.indices, places, strict=True)
        found = [(asked, place if asked == shown else None) for asked, shown, place in of]
        return *output_sums(output), found

    for names, sums, found in held_out.measured(measure):
        answers = {i: None if place is None else task.answer(place) for i, place in found}
        yield names, sums, answers


def sample_figures(task: SampleTask, held_out: HeldOut) -> Figures:
    """Losses where answers are known, and the task's own score.

    A sample whose picture is broken is answered as it would be handed in. There are no figures of
    a split whose answers are not public.
    """
    if not task.has_truth:
        return {}
    averages, score, samples = Averages(), task.score(), task.held_out.samples
    for names, sums, answers in answered(task, held_out):
        if any(task.truth(samples[index]) is not None for index in answers):
            averages.add_sums(names, sums)
        for index, answer in answers.items():
            task.add(score, samples[index], task.usual if answer is None else answer)
    return averages.means() | _named(score)


def shuffled_figures(task: SampleTask, held_out: HeldOut) -> Figures:
    """The score where every sample has the pictures of another one.

    Of several pictures, also where it keeps one of its own: what that one tells by itself.
    """
    figures = _figures_without(task, held_out, "shuffled", kept=())
    if task.settings.pictures > 1:
        for place, side in enumerate(task.settings.sides):
            figures |= _figures_without(task, held_out, f"{side}_only", kept=(place,))
    return figures


def _figures_without(
    task: SampleTask, held_out: HeldOut, ending: str, *, kept: tuple[int, ...]
) -> Figures:
    """The score where a sample keeps pictures of its own at these places alone."""
    score, key = task.score(), BatchKey(task.held_out, 0, None)

    def measure(examples: list[SampleExample]) -> list[tuple[int, int]]:
        swapped = [_with_other_pictures(task, example, kept) for example in examples]
        inputs = task.collate(swapped, key).to(held_out.runtime.device)
        with held_out.runtime.autocast():
            places = task.logits(task.learner, inputs).argmax(-1).tolist()
        return [(example.index, place) for example, place in zip(swapped, places, strict=True)]

    for found in held_out.measured_examples(measure):
        for index, place in found:
            task.add(score, task.held_out.samples[index], task.answer(place))
    return {f"{name}_{ending}": value for name, value in _named(score).items()}


def majority_figures(task: SampleTask, held_out: HeldOut) -> Figures:
    """The score of the most frequent answer in training, given to every sample.

    The first of these figures is the one that a task is judged by.
    """
    score = task.score()
    for index in held_out.indices:
        task.add(score, task.held_out.samples[index], task.usual)
    return _named(score)


def _with_other_pictures(
    task: SampleTask, example: SampleExample, kept: tuple[int, ...]
) -> SampleExample:
    """The sample that was asked for, with those of one that shows none of its, if any does.

    At the places that are kept stand its own.
    """
    samples = task.held_out.samples
    asked = samples[example.asked]
    draw = generator(task.setup.seed, 0, example.asked, "other pictures")
    pictures = example.pictures
    for index in draw.integers(len(samples), size=DRAWS).tolist():
        if set(asked.images).isdisjoint(samples[index].images):
            others = task.held_out_examples.load(index, 0).pictures
            both = enumerate(zip(example.pictures, others, strict=True))
            pictures = tuple(own if place in kept else other for place, (own, other) in both)
            break
    return replace(example, index=example.asked, sample=asked, pictures=pictures)


def _named(score: Score) -> Figures:
    """Figures by names without spaces: "vqa, answers yes/no" is vqa_yes_no."""
    figures = {}
    for name, value in score.figures().items():
        words = "".join(c if c.isalnum() else " " for c in name).split()
        figures["_".join(word for word in words if word != "answers")] = value
    return figures
