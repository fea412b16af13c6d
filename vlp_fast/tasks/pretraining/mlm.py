"""Masked language modelling with visual context (E2E-VLP section 3.1.2; SOHO eq. 6).

BERT's corruption: of the ordinary tokens 15 % are chosen; 80 % of these become [MASK], 10 %
a random ordinary token, 10 % stay. Different from BERT: at least one token is always chosen,
so that a caption of four words is not without a target half of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1


@dataclass(frozen=True, kw_only=True)
class MaskedText:
    """A corrupted token sequence.

    Attributes:
        ids: the tokens that the model reads, same length as the original.
        positions: which positions were chosen, ascending.
        targets: the original token at each chosen position.
    """

    ids: list[int]
    positions: list[int]
    targets: list[int]

    def original(self) -> list[int]:
        """The tokens before the corruption."""
        ids = list(self.ids)
        for position, target in zip(self.positions, self.targets, strict=True):
            ids[position] = target
        return ids


def mask_words(
    ids: list[int],
    generator: np.random.Generator,
    *,
    mask_id: int,
    ordinary_ids: np.ndarray,
    special_ids: frozenset[int],
    rate: float,
) -> MaskedText:
    """Choose and corrupt tokens of one text.

    Args:
        ids: token ids with [CLS] and [SEP].
        generator: source of all randomness.
        mask_id: id of [MASK].
        ordinary_ids: ids from which a random replacement is drawn (no special tokens).
        special_ids: ids that are never chosen.
        rate: share of the ordinary tokens to choose; at least one is chosen if there is any.
    """
    candidates = [i for i, token in enumerate(ids) if token not in special_ids]
    if not candidates:
        return MaskedText(ids=list(ids), positions=[], targets=[])
    draws = generator.random(len(candidates))
    chosen = [p for p, draw in zip(candidates, draws, strict=True) if draw < rate]
    chosen = chosen or [candidates[int(draws.argmin())]]
    corrupted = list(ids)
    for position, action in zip(chosen, generator.random(len(chosen)), strict=True):
        if action < MASKED_SHARE:
            corrupted[position] = mask_id
        elif action < MASKED_SHARE + RANDOM_SHARE:
            corrupted[position] = int(ordinary_ids[generator.integers(len(ordinary_ids))])
    return MaskedText(ids=corrupted, positions=chosen, targets=[ids[p] for p in chosen])
