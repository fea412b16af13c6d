"""What can be asked of `vlp-fast bench latency` (torch-free)."""

from __future__ import annotations

from dataclasses import dataclass

from vlp_fast.errors import InputError

from .plan import SYSTEMS


@dataclass(frozen=True, kw_only=True)
class LatencyRequest:
    """Which systems, how often."""

    systems: tuple[str, ...] = ()
    """Of `two_stage`, `soho_r101_12`, `e2e_vlp_r50_6` and `e2e_vlp_r152_12`; all by default."""
    passes: int = 3
    """At least so many pairs each, behind one that is not counted; those that take less than five
    seconds do more."""

    def __post_init__(self) -> None:
        """Raises InputError for a system that is not measured, and for no pass."""
        if unknown := set(self.systems) - set(SYSTEMS):
            told = f"no latency of {min(unknown)!r}; there are those of {', '.join(SYSTEMS)}"
            raise InputError(told)
        if self.passes < 1:
            raise InputError(f"--latency.passes {self.passes}: give 1 or more")
