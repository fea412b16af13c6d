"""From the outputs of a model to what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vlp_fast.data.tokenizer import Tokenizer
from vlp_fast.inference.reading import ReadTogether
from vlp_fast.inference.results import Answer, Filled, Objects, Written
from vlp_fast.inference.trained import Trained
from vlp_fast.layers.beam_search import beam_hypotheses, beam_search
from vlp_fast.layers.sampling import greedy
from vlp_fast.models.caption_writer import CaptionWriter
from vlp_fast.models.e2e_vlp import E2EVLP
from vlp_fast.tasks.detection.set_prediction import Prediction, predictions
from vlp_fast.tasks.downstream.config import AnsweringConfig, SampleTaskConfig

Size = tuple[int, int]


def objects_of(
    trained: Trained, group: ReadTogether, sizes: Sequence[Size], threshold: float
) -> Iterator[Objects]:
    """What is found in pictures of these (height, width), in pixels of theirs."""
    return (objects for objects, _ in found_of(trained, group, sizes, threshold))


def found_of(
    trained: Trained, group: ReadTogether, sizes: Sequence[Size], threshold: float
) -> Iterator[tuple[Objects, list[int]]]:
    """The same, and which queries found them."""
    found = _decoder(trained).detect(group.memory, group.grid, group.packing)
    kinds = None if found.attribute_logits is None else found.attribute_logits[-1]
    every = predictions(found.logits[-1], found.boxes[-1], kinds)
    for one, size in zip(every, sizes, strict=True):
        assert one.queries is not None
        queries = one.queries[one.scores >= threshold].tolist()
        yield _objects(trained, one, size, threshold), queries


def captions_of(trained: Trained, group: ReadTogether, beams: int) -> Iterator[str]:
    """A caption of each picture."""
    tokenizer, (writer, end, length) = trained.tokenizer, _writer(trained, group)
    if beams == 1:
        texts = greedy(writer, end_id=end, max_length=length)
    else:
        alpha = _alpha(trained)
        texts = beam_search(writer, end_id=end, max_length=length, num_beams=beams, alpha=alpha)
    return (tokenizer.caption(row) for row in texts.ids.tolist())


def hypotheses_of(
    trained: Trained, group: ReadTogether, beams: int
) -> Iterator[tuple[Written, ...]]:
    """As many captions of each picture as there are beams, the best first."""
    writer, end, length = _writer(trained, group)
    alpha = _alpha(trained)
    found = beam_hypotheses(writer, end_id=end, max_length=length, num_beams=beams, alpha=alpha)
    parts = (found.ids, found.scores, found.log_probabilities, found.ended)
    for rows in zip(*(part.tolist() for part in parts), strict=True):
        yield tuple(
            Written(text=trained.tokenizer.caption(ids), score=s, log_probability=p, ended=e)
            for ids, s, p, e in zip(*rows, strict=True)
        )


def answers_of(trained: Trained, first_rows: Tensor, top: int) -> list[Answer]:
    """Answers from (N, P D) rows, [CLS] of a sample's pictures side by side."""
    task = trained.about.task
    assert isinstance(task, SampleTaskConfig)
    assert trained.classifier is not None
    logits = trained.classifier(first_rows).float()
    # VQA's answers are no alternatives: people give several, and each was taught by itself.
    shares = logits.sigmoid() if isinstance(task, AnsweringConfig) else logits.softmax(-1)
    names = task.classes(trained.about.answers)
    return [
        Answer(text=ranked[0][0], score=ranked[0][1], ranked=ranked)
        for ranked in _ranked(shares, names, top)
    ]


def filled_of(
    tokenizer: Tokenizer, ids: Sequence[int], places: Sequence[int], logits: Tensor, top: int
) -> Filled:
    """A text with words in the places of its masks, from (M, V) logits of these."""
    ordinary = torch.from_numpy(tokenizer.ordinary_ids).to(logits.device)
    best = logits.float().softmax(-1)[:, ordinary].topk(min(top, len(ordinary)), dim=-1)
    numbers = ordinary[best.indices].tolist()
    words = tuple(
        tuple((tokenizer.vocabulary[i], share) for i, share in zip(row, shares, strict=True))
        for row, shares in zip(numbers, best.values.tolist(), strict=True)
    )
    whole = list(ids)
    for place, row in zip(places, numbers, strict=True):
        whole[place] = row[0]
    return Filled(text=tokenizer.decode(whole), words=words)


def _ranked(
    shares: Tensor, names: Sequence[str], top: int
) -> Iterator[tuple[tuple[str, float], ...]]:
    """The best names of each of (N, C) rows with their shares, falling."""
    best = shares.topk(min(top, shares.size(-1)), dim=-1)
    for values, numbers in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        yield tuple((names[n], value) for n, value in zip(numbers, values, strict=True))


def _objects(trained: Trained, found: Prediction, size: Size, threshold: float) -> Objects:
    height, width = size
    sure = found.scores >= threshold
    labels = [trained.about.classes[label] for label in found.labels[sure].tolist()]
    kinds = [] if found.attributes is None else found.attributes[sure].tolist()
    return Objects(
        boxes=found.boxes[sure].numpy() * np.array([width, height, width, height], np.float32),
        labels=tuple(labels),
        scores=found.scores[sure].numpy(),
        attributes=tuple(trained.about.attributes[kind] for kind in kinds),
    )


def _writer(trained: Trained, group: ReadTogether) -> tuple[CaptionWriter, int, int]:
    """What writes about pictures, the word that ends, and how many words there are at most."""
    tokenizer = trained.tokenizer
    start, end = tokenizer.cls_id, tokenizer.sep_id
    writer = _decoder(trained).writer(group.memory, group.grid, group.packing, start_id=start)
    # What is taught has at most so many words after [CLS], the end included.
    return writer, end, trained.about.data.max_text_length - 1


def _alpha(trained: Trained) -> float:
    return float(getattr(trained.about.task, "alpha", 0.9))


def _decoder(trained: Trained) -> E2EVLP:
    assert isinstance(trained.model, E2EVLP)  # what writes and finds is E2E-VLP's decoder
    return trained.model
