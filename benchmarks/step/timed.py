"""Steps of a side on the clock, within its process."""

from __future__ import annotations

import gc
import time
from typing import Any, Protocol

import torch

from vlp_fast import ops

from ..counters import CompilationCounter, count_synchronisations, peak_of_process, reset_peak
from ..timing import wait_for_device
from .cases import Plan

Answer = dict[str, Any]
TOLERANCE = {"cpu": 1e-3, "cuda": 2e-2}
"""Relative difference of losses that is allowed; on a GPU convolutions are TF32's."""
OPERATORS = ("attention", "match", "nearest_code", "residual_norm")


class Steps(Protocol):
    """Ours, or a composition."""

    def step(self) -> int:
        """Do the next step; returns the pairs in it."""

    def losses(self) -> dict[str, float]:
        """Means since the last call; waits for the device."""


class TimedSide:
    """A side with clocks and counters.

    Attributes:
        about: its parameters, how far its losses are from ours, and ours' backends.

    Raises:
        RuntimeError: if its losses are not those of ours.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._compilations = CompilationCounter()
        self.about: Answer = {"threads": torch.get_num_threads()}
        self._side = self._ours() if plan.way is None else self._reference()
        self._step = self._compilations.watch(self._side.step)

    def do(self, steps: int = 0, reset: bool = False, end: bool = False) -> Answer:
        """Take steps, count the peak of memory anew, or tell what was counted."""
        if steps:
            return self._take(steps)
        if reset:
            return self._reset()
        return self._counted() if end else {}

    def _ours(self) -> Steps:
        from .ours import Ours

        side = Ours(self._plan.run())
        model = side.experiment.learner.model
        device = side.experiment.precision.device.type
        backends = dict.fromkeys(ops.backend_for(name, device)[0] for name in OPERATORS)
        self.about |= {
            "parameters": sum(p.numel() for p in model.parameters()),
            "backend": "+".join(backends),
            "dtype": str(side.experiment.precision.dtype).removeprefix("torch."),
        }
        return side

    def _reference(self) -> Steps:
        from .reference import Reference

        plan, way = self._plan, self._plan.way
        assert way is not None
        starts = range(plan.warm_up, plan.total - 1, plan.steps)
        passes = [range(plan.warm_up), *(range(start, start + plan.steps) for start in starts)]
        side = Reference(plan.run(), way, [*passes, range(plan.total - 1, plan.total)])
        if not side.disagreement <= TOLERANCE[plan.device]:  # NaN is no agreement
            raise RuntimeError(
                f"its losses are {side.disagreement:.3g} from ours, allowed "
                f"{TOLERANCE[plan.device]:.3g}"
            )
        self.about |= {"parameters": side.parameters, "disagreement": side.disagreement}
        return side

    def _take(self, steps: int) -> Answer:
        """Some steps, from an idle device until it is idle again."""
        wait_for_device()
        start, cpu = time.perf_counter(), time.process_time()
        pairs = sum(self._step() for _ in range(steps))
        wait_for_device()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "pairs": pairs, "losses": self._side.losses()}

    def _reset(self) -> Answer:
        gc.collect()
        if self._plan.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return {}
        reset_peak()
        return {}

    def _counted(self) -> Answer:
        """The peak; and, in one step more, waits for the device."""
        on_gpu = self._plan.device == "cuda"
        peak = torch.cuda.max_memory_allocated() if on_gpu else peak_of_process()
        waits = count_synchronisations(self._step) if on_gpu else None
        counted = {"peak": peak, "synchronisations": waits}
        return {**counted, "compilations": self._compilations.count}
