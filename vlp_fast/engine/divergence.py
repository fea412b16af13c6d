"""When a run learns nothing any more, and had better stop than replace its good checkpoints."""

from __future__ import annotations

PATIENCE = 8
"""Steps in a row that a run survives without one that is finite: one odd picture costs one step."""
SCALED_PATIENCE = 40
"""With loss scaling, where each of them halves the scale: fp16 begins with several, and 40 leave
nothing of any scale."""
LAST_PATIENCE = 1
"""At the end of an objective: no later step of it shows that the weights are sound."""


def divergence(skipped: int, *, is_scaled: bool, is_last: bool, is_whole_run: bool) -> str:
    """What is wrong, empty if nothing is.

    Args:
        skipped: steps up to now, in a row, that were skipped: losses, gradients or statistics were
            not finite.
        is_scaled: whether losses are scaled, as in fp16.
        is_last: whether an objective, or the run, has no further step.
        is_whole_run: whether those are all steps that it made.
    """
    patience = PATIENCE
    if is_scaled:
        patience = SCALED_PATIENCE
    elif is_last:
        patience = 0 if is_whole_run else LAST_PATIENCE
    if skipped <= patience:
        return ""
    which = f"the last {skipped} steps were" if skipped > 1 else "the last step was"
    return f"{which} skipped, since losses, gradients or statistics are not finite"
