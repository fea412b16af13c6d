"""What is known of one provider on one case."""

from __future__ import annotations

from dataclasses import dataclass, field

from .case import OURS, Case
from .timing import Spread


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds for one call of the operator."""

    cache: str
    """`cold` or `hot` for the device's time by events; empty for the host's clock on a CPU."""
    device: Spread
    host: float
    """Median until the call returns."""
    wall: float
    """Median until the device is idle again."""


@dataclass(kw_only=True)
class Result:
    """A provider on a case, measured or not."""

    case: Case
    provider: str
    problem: str = ""
    """Why it was not measured; empty if it was."""
    error: float = float("nan")
    wrong: float | None = None
    """Share of the solution's parts that are not the best; `None` where that is not counted."""
    first: float = float("nan")
    """Seconds for a call in the first run, with everything that it compiles and loads."""
    compilations: int = 0
    """Over all runs, the first one included."""
    synchronisations: float | None = None
    """Waits for the device in one call; `None` on a CPU."""
    extra_bytes: int | None = None
    """That a run takes at its peak beyond what was there before; `None` if the system hides it."""
    timings: list[Timing] = field(default_factory=list)
    others_cpu: float | None = None
    """Share of the CPUs that other processes took while the case was timed."""

    @property
    def backend(self) -> str:
        """Which of our backends ran; empty for others."""
        provider = self.case.providers.get(self.provider)
        return provider.backend if provider else ""

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our providers."""
        return self.provider.split()[0] == OURS
