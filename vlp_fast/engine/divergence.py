"""When a run learns nothing any more, and had better stop than replace its good checkpoints."""

from __future__ import annotations

import math

PATIENCE = 8
"""Steps in a row without a finite gradient that a run survives: one odd picture costs one step."""
SCALED_PATIENCE = 40
"""With loss scaling, where each of them halves the scale: fp16 begins with several, and 40 leave
nothing of any scale."""


def divergence(loss: float, skipped: int, *, is_scaled: bool, is_whole_run: bool) -> str:
    """What is wrong, empty if nothing is.

    Args:
        loss: the mean since the last line.
        skipped: steps up to now, in a row, that were skipped for want of finite gradients.
        is_scaled: whether losses are scaled, as in fp16.
        is_whole_run: whether those are all steps that the run has.
    """
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    patience = SCALED_PATIENCE if is_scaled else PATIENCE
    if skipped > patience or (is_whole_run and skipped and not is_scaled):
        return f"the last {skipped} steps were skipped, since their gradients are not finite"
    return ""
