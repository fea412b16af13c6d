"""Does the model use the picture? Figures that only the drawn world can give.

Words that the picture determines are masked one at a time and predicted with the right picture and
with another one: a model that reads the picture is right with the first and not with the second.
Captions are generated and parsed back: is every colour-and-shape pair in the picture?
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.data.sources.drawn_world import SceneTruth
from vlp_fast.data.world.language import described_objects, determined_words, parse
from vlp_fast.data.world.scene import Scene
from vlp_fast.tasks.encoding import encode_pairs
from vlp_fast.tasks.held_out import HeldOut

if TYPE_CHECKING:
    from vlp_fast.tasks.pretraining.pretraining import Pretraining

SHAPE = "kind"

Tally = dict[str, list[int]]
"""Right answers and questions, by name."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One masked word of one caption of one picture."""

    ids: list[int]
    position: int
    answer: int
    category: str
    objects: int


def grounding_figures(task: Pretraining, held_out: HeldOut) -> dict[str, float]:
    """MLM on determined words, right and shuffled picture, and caption truth; {} elsewhere."""
    truth = task.held_out.describes
    if not isinstance(truth, SceneTruth):
        return {}
    found = held_out.measured_examples(lambda examples: _counts(task, held_out, truth, examples))
    tally: Tally = defaultdict(lambda: [0, 0])
    for name, right, count in (entry for entries in found for entry in entries):
        tally[name][0] += right
        tally[name][1] += count
    return {name: right / max(count, 1) for name, (right, count) in sorted(tally.items())}


def _counts(
    task: Pretraining, held_out: HeldOut, truth: SceneTruth, examples: list[Example]
) -> list[tuple[str, int, int]]:
    """Names, right answers and questions of a batch."""
    tally: Tally = defaultdict(lambda: [0, 0])
    other = examples[1:] + examples[:1]
    draws = [generator(0, 0, e.image_id, "questions") for e in examples]
    questions = [
        _question(task, truth.scenes[e.index], e, d) for e, d in zip(examples, draws, strict=True)
    ]
    for name, shown in (("right", examples), ("shuffled", other)):
        guesses = _answers(task, held_out, questions, shown)
        for question, guess in zip(questions, guesses, strict=True):
            if question is not None:
                _count(tally, name, question, right=guess == question.answer)
    for example, text in zip(examples, task.captions(held_out, examples) or (), strict=False):
        _judge(tally, truth.scenes[example.index], text)
    return [(name, right, count) for name, (right, count) in tally.items()]


def _question(
    task: Pretraining, scene: Scene, example: Example, draw: np.random.Generator
) -> Question | None:
    tokenizer = task.tokenizer
    text = example.captions[int(draw.integers(len(example.captions)))]
    words = determined_words(scene, text)
    if not words:
        return None
    index, category = words[int(draw.integers(len(words)))]
    ids, word_of = tokenizer.encode_words(text, task.setup.data.max_text_length)
    if word_of.count(index) != 1:
        return None  # cut off, or more than one piece
    position = word_of.index(index)
    masked = [*ids[:position], tokenizer.mask_id, *ids[position + 1 :]]
    return Question(
        ids=masked,
        position=position,
        answer=ids[position],
        category=category,
        objects=len(scene.objects),
    )


def _answers(
    task: Pretraining, held_out: HeldOut, questions: list[Question | None], examples: list[Example]
) -> list[int]:
    model, runtime = task.learner.model, held_out.runtime
    texts = [q.ids if q else [task.tokenizer.cls_id] for q in questions]
    hidden, starts = encode_pairs(model, runtime, texts, examples)
    rows = [s + (q.position if q else 0) for s, q in zip(starts, questions, strict=True)]
    index = torch.tensor(rows, device=hidden.device)
    with runtime.autocast():
        logits = model.masked_word_logits(hidden[index])
    return [int(token) for token in logits.argmax(-1).tolist()]


def _count(tally: Tally, name: str, question: Question, *, right: bool) -> None:
    names = [f"mlm_{name}"]
    if name == "right":
        names.append(f"mlm_{question.category}")
        if question.category == SHAPE and question.objects == 1:
            names.append("mlm_kind_single_object")
    if question.category == "relation":
        names = [f"mlm_relation_{name}"]  # a coin flip is left even with the picture: apart
    for key in names:
        tally[key][0] += int(right)
        tally[key][1] += 1


def _judge(tally: Tally, scene: Scene, text: str) -> None:
    """Count captions whose colour-and-shape pairs are all in the picture."""
    pairs = described_objects(text)
    if not pairs and parse(text) is not None:
        return  # a sentence about the ground or a number: it names no pair
    present = {(thing.colour, thing.kind) for thing in scene.objects}
    right = [pair in present for pair in pairs] or [False]
    tally["caption_all_pairs_right"][0] += int(all(right))
    tally["caption_all_pairs_right"][1] += 1
    tally["caption_some_pair_right"][0] += int(any(right))
    tally["caption_some_pair_right"][1] += 1
