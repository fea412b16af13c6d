"""A system as stages: each makes of what the one before it made what the next one needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Stage = Callable[[Any], Any]
WHOLE = "whole"
"""All stages of a way, one behind the other."""


class Key(NamedTuple):
    """A stage of a system; `way` is empty for those that all ways share."""

    way: str
    stage: str


class Agreement(NamedTuple):
    """How far a stage is from what it should make."""

    error: float
    """The largest difference, by the largest value expected."""
    wrong: float | None = None
    """Share of its choices that are others."""


@dataclass(frozen=True, kw_only=True)
class System:
    """What is measured.

    Attributes:
        trunk: the stages that all ways share, in order.
        tails: by way, the stages behind them; a system with one way has one of no name.
        draw: makes what the first stage gets.
        check: of what every stage made, says how far some are from the truth. Raises
            DisagreementError if one is too far.
        backend: of ours: who computes.
    """

    trunk: Mapping[str, Stage]
    draw: Callable[[], Any]
    check: Callable[[Mapping[Key, Any]], Mapping[Key, Agreement]]
    tails: Mapping[str, Mapping[str, Stage]] = field(default_factory=lambda: {"": {}})
    backend: str = ""

    def keys(self, way: str) -> list[Key]:
        """The stages of a way, in order."""
        return [Key("", name) for name in self.trunk] + [Key(way, n) for n in self.tails[way]]

    def whole(self, way: str, given: Any) -> Any:
        """All stages of a way; nothing waits for the device between them."""
        for stage in (*self.trunk.values(), *self.tails[way].values()):
            given = stage(given)
        return given
