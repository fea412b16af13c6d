"""Does the model use the picture? Figures that only the drawn world can give.

Words that the picture determines are masked one at a time and predicted with the right picture and
with another one: a model that reads the picture is right with the first and not with the second.
Captions are generated and parsed back: is every colour-and-shape pair in the picture?
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.data.sources.drawn_world import SceneTruth
from vlp_fast.data.world.language import described_objects, determined_words, parse
from vlp_fast.data.world.scene import Scene
from vlp_fast.engine.encoding import captions, encode_pairs, similar_examples
from vlp_fast.engine.experiment import Experiment
from vlp_fast.models.e2e_vlp import E2EVLP

SHAPE = "kind"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One masked word of one caption of one picture."""

    ids: list[int]
    position: int
    answer: int
    category: str
    objects: int


def grounding_figures(experiment: Experiment) -> dict[str, float]:
    """MLM on determined words, right and shuffled picture, and caption truth; {} elsewhere."""
    truth = experiment.held_out.describes
    if not isinstance(truth, SceneTruth):
        return {}
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for examples in similar_examples(experiment):
        other = examples[1:] + examples[:1]
        draws = [generator(0, 0, e.image_id, "questions") for e in examples]
        questions = [
            _question(experiment, truth.scenes[e.index], e, d)
            for e, d in zip(examples, draws, strict=True)
        ]
        for name, shown in (("right", examples), ("shuffled", other)):
            for question, guess in zip(
                questions, _answers(experiment, questions, shown), strict=True
            ):
                if question is not None:
                    _count(tally, name, question, right=guess == question.answer)
        if isinstance(experiment.model, E2EVLP) and experiment.run.objective.captioning:  # type: ignore[union-attr]
            for example, text in zip(examples, captions(experiment, examples), strict=True):
                _judge(tally, truth.scenes[example.index], text)
    return {name: right / max(count, 1) for name, (right, count) in sorted(tally.items())}


def _question(
    experiment: Experiment, scene: Scene, example: Example, draw: np.random.Generator
) -> Question | None:
    tokenizer = experiment.tokenizer
    text = example.captions[int(draw.integers(len(example.captions)))]
    words = determined_words(scene, text)
    if not words:
        return None
    index, category = words[int(draw.integers(len(words)))]
    ids, word_of = tokenizer.encode_words(text, experiment.run.data.max_text_length)
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
    experiment: Experiment, questions: list[Question | None], examples: list[Example]
) -> list[int]:
    texts = [q.ids if q else [experiment.tokenizer.cls_id] for q in questions]
    hidden, starts = encode_pairs(experiment, texts, examples)
    rows = [s + (q.position if q else 0) for s, q in zip(starts, questions, strict=True)]
    index = torch.tensor(rows, device=hidden.device)
    with experiment.precision.autocast():
        logits = experiment.model.masked_word_logits(hidden[index])
    return [int(token) for token in logits.argmax(-1).tolist()]


def _count(tally: dict[str, list[int]], name: str, question: Question, *, right: bool) -> None:
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


def _judge(tally: dict[str, list[int]], scene: Scene, text: str) -> None:
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
