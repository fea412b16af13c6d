"""The score of a text beside a picture: the matching head's log odds on [CLS], in float32."""

from __future__ import annotations

from torch import Tensor

from vlp_fast.models.model import VisionLanguageModel
from vlp_fast.ops.operands import no_autocast


def match_scores(model: VisionLanguageModel, rows: Tensor) -> Tensor:
    """Maps (..., D) rows of [CLS] to (...) float32: logit of a match minus logit of none.

    Scores in half precision have thousands of equals among a million pairs, and ranks are chance.
    """
    with no_autocast(rows):
        logits = model.match_logits(rows.float())
    scores: Tensor = logits[..., 1] - logits[..., 0]
    return scores
