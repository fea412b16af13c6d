"""Which pictures of a batch are shown with which texts, and which of these are foreign.

A pair is foreign if the text is none of the picture's own, token for token, and not known to be
true of it: of two pictures with one caption, neither pair is held against the model, nor is one
that the drawn world knows to be true. Such a pair is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vlp_fast.data.examples import Example
from vlp_fast.data.randomness import generator
from vlp_fast.data.records import Dataset
from vlp_fast.tasks.batch_key import BatchKey

TRIALS = 4
"""Draws for each foreign text that is wanted; then there are fewer of them."""

Ids = list[int]
Encode = Callable[[str], Ids]


@dataclass(kw_only=True)
class Pairs:
    """Sequences of a batch, each a text beside a picture.

    Attributes:
        texts: token ids of each of S sequences.
        image_of: the picture of each.
        own: of each of B pictures, the sequence with its own text.
        other_images: of each, sequences of its text with foreign pictures.
        other_texts: of each, sequences of it with foreign texts.
    """

    texts: list[Ids] = field(default_factory=list)
    image_of: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    other_images: list[list[int]] = field(default_factory=list)
    other_texts: list[list[int]] = field(default_factory=list)

    def add(self, ids: Ids, image: int) -> int:
        """Append a sequence, and return its number."""
        self.texts.append(ids)
        self.image_of.append(image)
        return len(self.texts) - 1


class Pairing:
    """What is known of a batch: the own text that is drawn for each picture, and all that are true.

    Args:
        examples: B pictures with their captions.
        key: of the batch; in each run of as many epochs as a picture has captions, each of them is
            drawn once.
        encode: from a text to token ids.
        seed: of the run.
    """

    def __init__(
        self, examples: Sequence[Example], key: BatchKey, encode: Encode, *, seed: int
    ) -> None:
        self.examples = examples
        self.encode = encode
        self._dataset = key.dataset
        self._true = [{tuple(encode(text)) for text in e.captions} for e in examples]
        self.captions = [own_caption(e, key.epoch, seed) for e in examples]
        self.ids = [encode(caption) for caption in self.captions]

    def is_foreign(self, image: int, text: str, ids: Ids) -> bool:
        """Whether nothing says that a text is true of a picture of the batch."""
        if tuple(ids) in self._true[image]:
            return False
        describes = self._dataset.describes
        return describes is None or not describes(self.examples[image].index, text)

    def foreign_images(self, text: int) -> list[int]:
        """The pictures of the batch that the own text of one of them is foreign to."""
        caption, ids = self.captions[text], self.ids[text]
        return [i for i in range(len(self.examples)) if self.is_foreign(i, caption, ids)]

    def hard_texts(self, image: int, count: int, draw: np.random.Generator) -> list[Ids]:
        """So many foreign texts that differ from the own one in one word, or fewer."""
        near = self._dataset.near_texts.drawn(self.captions[image], draw) if count else iter(())
        return self._foreign(image, near, count)

    def foreign_texts(
        self, image: int, count: int, draw: np.random.Generator, *, hard: int = 0
    ) -> list[Ids]:
        """So many different foreign texts of the data set, or fewer; first so many hard ones."""
        near = self.hard_texts(image, min(hard, count), draw)
        drawn = _drawn_texts(self._dataset, TRIALS * (count - len(near)), draw)
        return self._foreign(image, drawn, count, known=near)

    def _foreign(
        self, image: int, texts: Iterator[str], count: int, *, known: Sequence[Ids] = ()
    ) -> list[Ids]:
        """The known ones, and behind them others that are foreign to a picture, `count` in all."""
        found = dict.fromkeys(map(tuple, known))
        for text in texts:
            if len(found) == count:
                break
            ids = self.encode(text)
            if self.is_foreign(image, text, ids):
                found[tuple(ids)] = None
        return [list(ids) for ids in found]


def own_caption(example: Example, epoch: int, seed: int) -> str:
    """One of a picture's captions: another one each epoch, until all have been read."""
    captions = example.captions
    round_, place = divmod(epoch, len(captions))
    order = generator(seed, round_, example.index, "own caption").permutation(len(captions))
    return captions[int(order[place])]


def every_pair(pairing: Pairing, *, hard_texts: int = 0, seed: int = 0, epoch: int = 0) -> Pairs:
    """Every picture with every text, but for pairs of two that are not foreign; own ones first.

    Behind them so many texts of the data set beside each picture that are nearly its own.
    """
    count = len(pairing.examples)
    pairs = Pairs(other_images=[[] for _ in range(count)], other_texts=[[] for _ in range(count)])
    pairs.own = [pairs.add(ids, image) for image, ids in enumerate(pairing.ids)]
    for text in range(count):
        for image in pairing.foreign_images(text):
            number = pairs.add(pairing.ids[text], image)
            pairs.other_images[text].append(number)
            pairs.other_texts[image].append(number)
    for image, example in enumerate(pairing.examples):
        draw = generator(seed, epoch, example.index, "hard texts")
        near = pairing.hard_texts(image, hard_texts, draw)
        pairs.other_texts[image] += [pairs.add(ids, image) for ids in near]
    return pairs


def sampled_pairs(
    pairing: Pairing, *, images: int, texts: int, hard_texts: int = 0, seed: int, epoch: int
) -> Pairs:
    """Every own pair, its text with drawn foreign pictures, its picture with foreign texts.

    Of the foreign texts the first are nearly its own, as many as are asked for and there are.
    """
    pairs = Pairs()
    for image, example in enumerate(pairing.examples):
        ids = pairing.ids[image]
        pairs.own.append(pairs.add(ids, image))
        draw = generator(seed, epoch, example.index, "foreign pairs")
        others = draw.permutation(pairing.foreign_images(image)).tolist()[:images]
        pairs.other_images.append([pairs.add(ids, int(other)) for other in others])
        foreign = pairing.foreign_texts(image, texts, draw, hard=hard_texts)
        pairs.other_texts.append([pairs.add(other, image) for other in foreign])
    return pairs


def padded(numbers: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of different length as (B, K) int64, 0 behind their end, and (B, K) bool where not."""
    longest = max(map(len, numbers), default=0)
    rows = [[*row, *[0] * (longest - len(row))] for row in numbers]
    is_there = [[True] * len(row) + [False] * (longest - len(row)) for row in numbers]
    shape = (len(numbers), longest)
    return (
        torch.tensor(rows, dtype=torch.int64, device="cpu").view(shape),
        torch.tensor(is_there, dtype=torch.bool, device="cpu").view(shape),
    )


def _drawn_texts(dataset: Dataset, count: int, draw: np.random.Generator) -> Iterator[str]:
    """Captions of random records, with repetition."""
    for index in draw.integers(len(dataset.records), size=count).tolist():
        captions = dataset.records[index].captions
        if captions:
            yield captions[int(draw.integers(len(captions)))]
