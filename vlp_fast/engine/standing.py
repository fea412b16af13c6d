"""Where a run stands, besides its weights: what a checkpoint keeps for the lines that follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vlp_fast.engine.replaced import Replaced
from vlp_fast.engine.rollbacks import Rollbacks
from vlp_fast.tasks.averages import Averages


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Counts and sums up to a step.

    Attributes:
        replaced: samples shown, and those with a broken picture.
        rollbacks: where the run is in the order of its samples.
        averages: figures since the last line; none where a line precedes the checkpoint.
    """

    replaced: Replaced = field(default_factory=Replaced)
    rollbacks: Rollbacks = field(default_factory=Rollbacks)
    averages: Averages = field(default_factory=Averages)

    def state(self) -> dict[str, Any]:
        """For state.json; it waits for the figures."""
        return {
            "replaced": self.replaced.state(),
            "rollbacks": self.rollbacks.state(),
            "averages": self.averages.state(),
        }

    @staticmethod
    def restored(state: dict[str, Any]) -> Standing:
        """Of a state.json; what it has not, as of an earlier version, begins anew."""
        return Standing(
            replaced=Replaced.restored(state.get("replaced")),
            rollbacks=Rollbacks.restored(state.get("rollbacks")),
            averages=Averages.restored(state.get("averages")),
        )
