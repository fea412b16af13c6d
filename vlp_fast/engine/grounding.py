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
from torch import Tensor

from vlp_fast.data.loader import Example
from vlp_fast.data.randomness import generator
from vlp_fast.data.world.language import described_objects, determined_words, parse
from vlp_fast.data.world.layouts import read_scenes
from vlp_fast.data.world.scene import Scene
from vlp_fast.engine.experiment import Experiment
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.models.soho import Soho
from vlp_fast.ops.packing import Grid, Packing, make_packing
from vlp_fast.tasks.captioning import until_end
from vlp_fast.tasks.images import batch_images
from vlp_fast.tasks.texts import flat

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
    root = experiment.run.data.root
    if root is None or not (root / "world.json").is_file():
        return {}
    scenes = read_scenes(root)
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for examples in equal_shapes(experiment):
        other = examples[1:] + examples[:1]
        draws = [generator(0, 0, e.image_id, "questions") for e in examples]
        questions = [
            _question(experiment, scenes[e.image_id], e, d)
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
                _judge(tally, scenes[example.image_id], text)
    return {name: right / max(count, 1) for name, (right, count) in sorted(tally.items())}


def equal_shapes(experiment: Experiment) -> list[list[Example]]:
    """Held-out examples, grouped so that neighbours have one shape."""
    examples = experiment.held_out_examples()
    examples.sort(key=lambda e: (e.image.shape[1] / e.image.shape[2], e.index))
    size = experiment.run.train.batch_size
    batches = [examples[i : i + size] for i in range(0, len(examples), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [batches[-2] + batches[-1]]  # alone, a picture has none to be swapped with
    return batches


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


def encode_pairs(
    experiment: Experiment, texts: list[list[int]], examples: list[Example]
) -> tuple[Tensor, tuple[int, ...]]:
    """Encode text i with picture i; returns the packed rows and where each sequence begins."""
    hidden, _, packing = _encode(experiment, texts, examples)
    return hidden, packing.starts


def encode_images(experiment: Experiment, examples: list[Example]) -> tuple[Tensor, Grid, Packing]:
    """Encode pictures without a text; returns the memory with its grid and packing."""
    return _encode(experiment, [[] for _ in examples], examples)


def _encode(
    experiment: Experiment, texts: list[list[int]], examples: list[Example]
) -> tuple[Tensor, Grid, Packing]:
    model, device = experiment.model, experiment.precision.device
    images, sizes, grid = batch_images(examples, model.grid_sizes, model.pad_multiple)
    packing = make_packing([len(t) for t in texts], range(len(texts)), grid).to(device)
    images, grid, ids = images.to(device), grid.to(device), flat(texts).to(device)
    with experiment.precision.autocast():
        if isinstance(model, Soho):
            tokens = model.embed_image(images, grid, sizes)
            return model.encode(ids, tokens, None, grid, packing), grid, packing
        cells = model.features(images, grid, sizes)
        return model.encode(ids, cells, grid, packing), grid, packing


def captions(experiment: Experiment, examples: list[Example]) -> list[str]:
    """Greedy captions of pictures, from the image-only encoding."""
    model, tokenizer = experiment.model, experiment.tokenizer
    assert isinstance(model, E2EVLP)
    memory, grid, packing = encode_images(experiment, examples)
    with experiment.precision.autocast():
        ids = model.generate(
            memory,
            grid,
            packing,
            start_id=tokenizer.cls_id,
            end_id=tokenizer.sep_id,
            max_length=experiment.run.data.max_text_length,
        )
    return [tokenizer.decode(row) for row in until_end(ids, tokenizer.sep_id)]


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
