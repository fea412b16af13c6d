"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1: finish the step, save, and only then stop.

Python runs a signal's handler in the main thread, and only when that comes back from PyTorch: on a
CPU the gradients of a large batch take minutes. So a thread listens, too. It says at once that the
signal was heard, and ends the process where a second one finds nobody to end it in an orderly way.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from vlp_fast.engine.vote import Vote
from vlp_fast.engine.world import ALONE, World

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)
HEARD = b"\nvlp-fast: stopping after this step, which is saved; a second signal stops at once\n"
ECHO = 5.0
"""Seconds in which a second signal is the first one, on another way."""
GRACE = 2.0
"""Seconds for the end that a second signal asks for."""
INTERRUPTED = 130
SHOW_CURSOR = b"\x1b[?25h"


class Stopped(KeyboardInterrupt):
    """Somebody asked for the end, and the state after the last whole step is there to be saved.

    Attributes:
        number: of the signal, whichever process has heard it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequest:
    """Within this context the first signal is noted; a second one stops at once.

    A SIGHUP that the process ignores, as `nohup` has it, stays ignored.

    Where several processes train together, all of them stop after the same step, whichever heard
    the signal; one that comes twice at once, from a scheduler and from `torchrun`, counts once.

    Args:
        world: the processes.

    Attributes:
        is_asked: whether a signal came.
        is_agreed: whether all processes stop, after the same step.
    """

    def __init__(self, world: World = ALONE) -> None:
        self.is_asked = False
        self._vote = Vote(world)
        self._echo = ECHO if world.count > 1 else 0.0
        self._is_said = world.is_first
        self._is_alone = world.count == 1
        self.is_agreed = False
        self._asked_at = 0.0
        self._number = int(signal.SIGTERM)
        self._is_heard_at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._listener = _Listener(self._echo, is_said=self._is_said)
            for number in SIGNALS:
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            self._before = {}
            self._listener.close()

    @contextlib.contextmanager
    def heard_at_once(self) -> Iterator[None]:
        """Within this context nothing is begun that must be finished: the first signal ends it.

        Of several processes none may leave alone: there, whoever is within calls `check`.

        Raises:
            Stopped: at a signal, and if one came before.
        """
        self._is_heard_at_once = self._is_alone
        try:
            if self.is_asked and self._is_alone:
                raise Stopped(self._number)
            yield
        finally:
            self._is_heard_at_once = False

    def check(self) -> None:
        """Stop if a signal came.

        Raises:
            Stopped: if one did.
        """
        if number := self._vote.cast(self._number if self.is_asked else 0):
            self.is_agreed = True
            raise Stopped(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            if time.monotonic() - self._asked_at > self._echo:
                raise KeyboardInterrupt
            return
        self.is_asked, self._asked_at = True, time.monotonic()
        self._number = number
        if self._is_heard_at_once:
            raise Stopped(number)


class _Listener:
    """A thread that the system tells of every signal, whatever the main thread does."""

    def __init__(self, echo: float, *, is_said: bool) -> None:
        self._echo, self._is_said = echo, is_said
        self._bell, self._button = socket.socketpair()
        self._button.setblocking(False)
        self._is_over = threading.Event()
        self._before = signal.set_wakeup_fd(self._button.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        signal.set_wakeup_fd(self._before)
        self._button.send(b"\0")
        self._thread.join()
        self._bell.close()
        self._button.close()

    def _listen(self) -> None:
        count, heard_at = 0, -math.inf
        while number := self._bell.recv(1)[0]:
            is_echo = time.monotonic() - heard_at < self._echo
            if number not in SIGNALS or is_echo:
                continue
            count, heard_at = count + 1, time.monotonic()
            if count == 1 and self._is_said:
                _write(2, HEARD)
            elif count > 1 and not self._is_over.wait(GRACE):
                if os.isatty(1):
                    _write(1, SHOW_CURSOR)  # which a progress bar hides
                os._exit(INTERRUPTED)


def _write(descriptor: int, text: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, text)
