"""E2E-VLP's loss (section 5.1): circle loss of each true pair among sampled foreign ones.

Scores are shares s = sigmoid(score); with margin m and scale gamma, for the true pair p and foreign
ones n of one kind (pictures, or texts):

    L = log(1 + sum_n exp(gamma a_n (s_n - m)) exp(-gamma a_p (s_p - (1 - m))))
    a_p = [1 + m - s_p]+    a_n = [s_n + m]+        both without gradient

The mean of both kinds, and of the batch.

Source: Sun et al. (CVPR 2020), as the published ERNIE-ViL has it, whose m and gamma these are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vlp_fast.tasks.batch_key import BatchKey
from vlp_fast.tasks.retrieval.config import CircleRetrievalConfig
from vlp_fast.tasks.retrieval.pairing import Pairing, Pairs, sampled_pairs
from vlp_fast.tasks.retrieval.retrieval import Retrieval, RetrievalInputs


class CircleRetrieval(Retrieval):
    """A true pair, foreign pictures of its text, foreign texts of its picture."""

    settings: CircleRetrievalConfig

    def pairs(self, pairing: Pairing, key: BatchKey) -> Pairs:
        """As many foreign ones as the settings ask for."""
        settings = self.settings
        return sampled_pairs(
            pairing,
            images=settings.image_negatives,
            texts=settings.text_negatives,
            hard_texts=settings.hard_texts,
            seed=self.setup.seed,
            epoch=key.epoch,
        )

    def loss(self, scores: Tensor, inputs: RetrievalInputs) -> Tensor:
        """The mean of both kinds of foreign pairs that are asked for."""
        shares, settings = scores.sigmoid(), self.settings
        kinds = (
            (settings.image_negatives, inputs.other_images, inputs.is_other_image),
            (settings.text_negatives, inputs.other_texts, inputs.is_other_text),
        )
        losses = [
            circle_loss(
                shares[inputs.own],
                shares[numbers],
                is_there,
                margin=settings.margin,
                scale=settings.scale,
            )
            for asked, numbers, is_there in kinds
            if asked
        ]
        return torch.stack(losses).mean()


def circle_loss(
    positive: Tensor,
    negative: Tensor,
    is_there: Tensor | None = None,
    *,
    margin: float = 0.3,
    scale: float = 32.0,
) -> Tensor:
    """The mean of the circle losses of B true pairs, each among K foreign ones; the formula above.

    Args:
        positive: (B,) shares of true pairs, in [0, 1]; computed in float32 at least.
        negative: (B, K) shares of foreign ones.
        is_there: (B, K) bool, False where there is none; None for all. A pair without any adds 0.
        margin: m.
        scale: gamma.
    """
    wide = torch.promote_types(positive.dtype, torch.float32)
    positive, negative = positive.to(wide), negative.to(wide)
    weight_p = (1 + margin - positive).clamp(min=0).detach()
    weight_n = (negative + margin).clamp(min=0).detach()
    of_positive = -scale * weight_p * (positive - (1 - margin))
    of_negative = scale * weight_n * (negative - margin)
    if is_there is not None:
        # Finite, for the gradient of a sum of none would be NaN; and 0 of the sum all the same.
        of_negative = of_negative.masked_fill(~is_there, torch.finfo(wide).min / 4)
    if not negative.shape[1]:
        return positive.sum() * 0.0
    # As a product of two exponentials it would overflow half precision at e^60.
    return functional.softplus(of_negative.logsumexp(1) + of_positive).mean()
