"""A warm-up for CNNs without ImageNet weights: which words are in the captions of this picture?

Not in the papers, which start from ImageNet. Masked words alone do not teach a CNN from scratch
what shapes are (SOHO: .16 after 3,000 steps on the drawn world; colours come at once), and boxes
teach it to overlook what is not an object (docs/measurements.md, section 3). Binary cross entropy
between the max-pooled projected map and the bag of words of the picture's own texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.layers.embeddings import TextEmbeddings
from vlp_fast.ops.packing import Grid
from vlp_fast.tasks.images import Sizes
from vlp_fast.tasks.task import StepOutput
from vlp_fast.tasks.texts import flat


@dataclass(frozen=True, kw_only=True)
class Words:
    """Which words the pictures' own texts have; a word may be listed more than once.

    Attributes:
        ids: (n,) int64.
        image_of: (n,) int64, the picture of each.
    """

    ids: Tensor
    image_of: Tensor

    def bag(self, num_images: int, vocab_size: int) -> Tensor:
        """(B, V) float32: 1 where a word is in a text of the picture."""
        bag = torch.zeros(num_images, vocab_size, device=self.ids.device)
        bag[self.image_of, self.ids] = 1.0
        return bag


def make_words(texts: Iterable[tuple[int, list[int]]]) -> Words:
    """Pack (picture, token ids with [CLS] and [SEP]) of any number of texts."""
    listed = [(image, ids[1:-1]) for image, ids in texts]
    return Words(
        ids=flat([ids for _, ids in listed]),
        image_of=flat([[image] * len(ids) for image, ids in listed]),
    )


class TaggedModel(Protocol):
    """What tagging asks of a model."""

    text_embeddings: TextEmbeddings

    def features(self, images: Tensor, grid: Grid, image_sizes: Sizes) -> Tensor:
        """The projected feature (P, D) of every valid cell."""


class TaggedInputs(Protocol):
    """What tagging asks of a batch."""

    @property
    def images(self) -> Tensor: ...
    @property
    def image_sizes(self) -> Sizes: ...
    @property
    def grid(self) -> Grid: ...
    @property
    def own_words(self) -> Words: ...


def tagging_loss(model: TaggedModel, inputs: TaggedInputs) -> StepOutput:
    """Train CNN, projection and word embeddings to name the words of the pictures' own texts.

    The word embeddings serve as classifier, so that no weight is made that is thrown away.
    """
    cells = model.features(inputs.images, inputs.grid, inputs.image_sizes)
    count = len(inputs.image_sizes)
    index = inputs.grid.image_of[:, None].expand_as(cells)
    pooled = torch.full_like(cells[:1], -torch.inf).expand(count, -1)
    pooled = pooled.scatter_reduce(0, index, cells, "amax")
    words = model.text_embeddings.word_embeddings.weight
    logits = functional.linear(pooled, words.to(pooled.dtype)).float()
    loss = functional.binary_cross_entropy_with_logits(
        logits, inputs.own_words.bag(count, words.size(0)), reduction="sum"
    )
    return StepOutput(losses={"tagging": loss / count})
