"""A warm-up for CNNs without ImageNet weights: which words are in the captions of this picture?

Not in the papers, whose CNNs start trained. Masked words alone do not teach a CNN from scratch
what shapes are (SOHO: .16 after 3,000 steps on the drawn world; colours come at once), and boxes
teach it to overlook what is not an object (docs/measurements.md, section 3). Binary cross entropy
between the max-pooled projected map and the bag of words of all the picture's captions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.data.examples import Example
from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.images import Pictures, batch_images
from vlp_fast.tasks.inputs import flat
from vlp_fast.tasks.pretraining.texts import Corruption
from vlp_fast.tasks.step import StepOutput
from vlp_fast.tasks.task import Learner, Objective


@dataclass(frozen=True, kw_only=True)
class TaggingInputs(Pictures):
    """One step's tensors.

    Attributes:
        words: (n,) int64, the words of all captions; one may be listed more than once.
        word_images: (n,) int64, the picture of each word.
        image_ids: identities.
        problems: what was wrong with the samples, for the log.
    """

    words: Tensor
    word_images: Tensor
    image_ids: tuple[int, ...]
    problems: tuple[str, ...]

    def bag(self, vocab_size: int) -> Tensor:
        """(B, V) float32: 1 where a word is in a caption of the picture."""
        bag = torch.zeros(len(self.image_sizes), vocab_size, device=self.words.device)
        bag[self.word_images, self.words] = 1.0
        return bag


@dataclass(frozen=True, kw_only=True)
class Tagging(Objective):
    """The warm-up: batches in, loss out."""

    curves: ClassVar = ("tagging",)

    corruption: Corruption
    model: VisionLanguageModel

    def collate(self, examples: list[Example], key: BatchKey) -> TaggingInputs:
        """Pad a batch and list its words, on the host."""
        images, image_sizes, grid = batch_images(examples, self.model)
        texts = [
            (position, self.corruption.ids(caption)[1:-1])
            for position, example in enumerate(examples)
            for caption in example.captions
        ]
        return TaggingInputs(
            images=images,
            image_sizes=image_sizes,
            grid=grid,
            words=flat([ids for _, ids in texts]),
            word_images=flat([[position] * len(ids) for position, ids in texts]),
            image_ids=tuple(e.image_id for e in examples),
            problems=tuple(e.problem for e in examples if e.problem),
        )

    def forward(self, learner: Learner, inputs: TaggingInputs) -> StepOutput:
        """The loss of CNN, projection and word embeddings, the only ones to learn from it.

        The word embeddings serve as classifier, so that no weight is made that is thrown away.
        """
        model = learner.model
        cells = model.features(inputs.images, inputs.grid, inputs.image_sizes)
        count = len(inputs.image_sizes)
        index = inputs.grid.image_of[:, None].expand_as(cells)
        pooled = torch.full_like(cells[:1], -torch.inf).expand(count, -1)
        pooled = pooled.scatter_reduce(0, index, cells, "amax")
        words = model.text_embeddings.word_embeddings.weight
        logits = functional.linear(pooled, words.to(pooled.dtype)).float()
        loss = functional.binary_cross_entropy_with_logits(
            logits, inputs.bag(words.size(0)), reduction="sum"
        )
        return StepOutput(losses={"tagging": loss / count})
