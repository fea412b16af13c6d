"""A warm-up for CNNs without ImageNet weights: which words are in the captions of this picture?

Not in the paper, which starts from ImageNet. Masked words alone do not teach a CNN from scratch
what shapes are (.16 after 3,000 steps on the drawn world; colours come at once). Binary cross
entropy between the max-pooled projected map and the bag of words of the picture's own texts.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from vlp_fast.models.soho import Soho
from vlp_fast.tasks.soho import SohoInputs
from vlp_fast.tasks.task import StepOutput


def tagging_loss(model: Soho, inputs: SohoInputs) -> StepOutput:
    """Train CNN, projection and word embeddings to name the words of the matching texts.

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
        logits, inputs.bag_of_words(words.size(0)), reduction="sum"
    )
    return StepOutput(losses={"tagging": loss / count})
