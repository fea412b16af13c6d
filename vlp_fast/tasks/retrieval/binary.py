"""SOHO's loss: every picture of a batch with every text, each pair is told to match or not.

t pictures with a text each make t true pairs and t (t - 1) foreign ones; binary cross entropy over
the matching head of pre-training, all pairs weigh the same (section 4.2.1). The CNN sees a picture
once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.retrieval.config import BinaryRetrievalConfig
from vlp_fast.tasks.retrieval.pairing import Pairing, Pairs, every_pair
from vlp_fast.tasks.retrieval.retrieval import Retrieval, RetrievalInputs


class BinaryRetrieval(Retrieval):
    """Matching of all pairs of a batch."""

    settings: BinaryRetrievalConfig

    def pairs(self, pairing: Pairing, key: BatchKey) -> Pairs:
        """All but those that are foreign by number and true by what they say."""
        hard_texts = self.settings.hard_texts
        return every_pair(pairing, hard_texts=hard_texts, seed=self.setup.seed, epoch=key.epoch)

    def loss(self, scores: Tensor, inputs: RetrievalInputs) -> Tensor:
        """Binary cross entropy, the mean over all pairs."""
        is_own = torch.zeros_like(scores).index_fill(0, inputs.own, 1.0)
        return functional.binary_cross_entropy_with_logits(scores, is_own)
