"""A run that learns nothing any more goes back to an earlier state, and on with other samples.

The order of the samples goes on where it was: after a rollback from step s to step c, step n shows
the samples that step n + (s - c) would have shown, and draws masks and dropout as that step. What
else derives from a step's number, as the learning rate, does so as before. Nothing is random in
this, and the numbers lie in each later checkpoint: a resumed run does the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Rollbacks:
    """Where a run is in the order of its samples.

    Attributes:
        count: how often it went back.
        passed_over: steps that the samples are ahead of the weights.
    """

    count: int = 0
    passed_over: int = 0

    def after(self, came_to: int, back_to: int) -> Rollbacks:
        """With one more, from a step to an earlier one."""
        return Rollbacks(count=self.count + 1, passed_over=self.passed_over + came_to - back_to)

    def state(self) -> dict[str, int]:
        """For a checkpoint."""
        return asdict(self)

    @staticmethod
    def restored(state: Any) -> Rollbacks:
        """Of a checkpoint; none of one that has no such numbers."""
        names = Rollbacks().state()
        if not isinstance(state, dict) or any(type(state.get(name)) is not int for name in names):
            return Rollbacks()
        return Rollbacks(**{name: state[name] for name in names})


class RollBack(Exception):
    """The run goes back, on all processes.

    Attributes:
        checkpoint: to which.
        reason: why, in one line.
    """

    def __init__(self, checkpoint: Path, reason: str) -> None:
        super().__init__(reason)
        self.checkpoint = checkpoint
        self.reason = reason
