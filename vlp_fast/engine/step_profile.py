"""Where the time of some steps went: a trace to look at, and a table to read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from vlp_fast.engine.communication import communication

TRACE, TABLE = "profile.json.gz", "profile.txt"
ROWS = 40
STAGES = ("data", "forward", "backward", "sums over processes", "optimisers")
"""What the trainer calls the parts of a step."""


class StepProfile:
    """Watches steps of a run, and writes into its folder what they did.

    Args:
        steps: [first, one past the last), counted as the log does; empty for none.
        folder: where the two files go.
        say: gets a line when they are written.
        is_gpu: whether the steps are computed on one; else the host is all that is looked at.
    """

    def __init__(
        self, steps: range, folder: Path, say: Callable[[str], object], *, is_gpu: bool
    ) -> None:
        self._steps = steps
        self._folder = folder
        self._is_gpu = is_gpu
        self._say = say
        self._running: profile | None = None
        self._watched = 0

    def begin(self, step: int) -> None:
        """A step begins, after so many."""
        self._watched += step in self._steps
        if self._running is None and step in self._steps:
            activities = [ProfilerActivity.CPU]
            if self._is_gpu:
                activities.append(ProfilerActivity.CUDA)
            # Kineto tells a machine without a GPU of an error that is none.
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")
            self._running = profile(activities=activities, acc_events=True)
            self._running.start()

    def end(self, step: int) -> None:
        """A step is done, which makes so many."""
        if self._running is not None and step not in self._steps:
            self.close()

    def close(self) -> None:
        """Write what was watched, if anything was."""
        running, self._running = self._running, None
        if running is None:
            return
        watched, self._watched = self._watched, 0  # a run that goes back comes by once more
        running.stop()
        running.export_chrome_trace(str(self._folder / TRACE))
        by = "self_cuda_time_total" if self._is_gpu else "self_cpu_time_total"
        events = running.key_averages()
        times = on_host(events)
        stages = "".join(f"{name:24s}{times[name] / watched:10.1f} ms a step\n" for name in STAGES)
        sent = communication(running.events() or (), is_gpu=self._is_gpu)
        stages += sent.lines(watched) if sent else ""
        table = events.table(by, row_limit=ROWS)
        (self._folder / TABLE).write_text(f"on the host:\n{stages}\n{table}")
        self._say(
            f"steps {self._steps.start} to {self._steps.stop}: {self._folder / TABLE}, and "
            f"{self._folder / TRACE} for https://ui.perfetto.dev"
        )


def on_host(events: Iterable[Any]) -> Counter[str]:
    """Milliseconds by name; a part that has kernels is there twice, with none for these."""
    times: Counter[str] = Counter()
    for event in events:
        times[event.key] += event.cpu_time_total / 1000
    return times
