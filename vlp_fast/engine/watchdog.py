"""A run that hangs says where, and ends: a thread of the interpreter watches the steps."""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Iterator


class Watchdog:
    """Ends the process, and prints what each of its threads is doing, if nobody comes by.

    Args:
        minutes: between two visits, at most; 0 for ever.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = minutes * 60

    def visit(self) -> None:
        """A step is done; the next has as much time."""
        if self._seconds:
            # The descriptor: a program that calls us may have replaced sys.stderr.
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=2)

    @contextlib.contextmanager
    def off_duty(self) -> Iterator[None]:
        """Within this context, an evaluation or the end, it may take as long as it takes."""
        faulthandler.cancel_dump_traceback_later()
        try:
            yield
        finally:
            self.visit()

    def leave(self) -> None:
        """The run is over."""
        faulthandler.cancel_dump_traceback_later()
