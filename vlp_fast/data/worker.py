"""A process that loads: asked for a step, it answers with what a function makes of the number.

Whatever happens to one is noticed by the other at once, because each holds one end of a socket and
nobody else holds it: the end of a process closes it. A worker has nothing to lose, so it is ended
by SIGKILL; it heeds no other signal, since those are for the main process.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

import torch

from vlp_fast.data import transfer
from vlp_fast.errors import InputError

CAN_FORK = "fork" in multiprocessing.get_all_start_methods()
"""Forked workers share the records and the image cache for free; started anew, each would need a
copy of all that its function holds. Windows has no fork."""

STEP = struct.Struct("<q")
"""A request."""

AHEAD = 2
"""Steps that a worker is asked for before the first of them is taken."""

SIGNALS = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}

RELIEF = "lower --data.num-workers or --train.batch-size"


class Worker:
    """One forked process with one thread.

    Args:
        load: what makes a value of a step; it need not be picklable, the value must.
        relief: what to do where memory runs out.

    Raises:
        InputError: if the system has no descriptors or memory for another process.
    """

    def __init__(self, load: Callable[[int], object], relief: str = RELIEF) -> None:
        self._relief = relief
        try:
            self._socket, theirs = socket.socketpair()
            self._process: BaseProcess = multiprocessing.get_context("fork").Process(
                target=_serve, args=(theirs, self._socket, load), daemon=True
            )
            with theirs, _blocked_signals():
                self._process.start()
        except OSError as error:
            raise InputError(
                f"a loading process cannot be started ({error.strerror or error}); lower "
                "--data.num-workers, or raise the limits that `ulimit -a` shows"
            ) from None
        # As Python ends, too, before it would wait for the process: a traceback keeps this alive.
        self.close = Finalize(self, _end, args=(self._process, self._socket), exitpriority=0)

    def ask(self, step: int) -> None:
        """Ask for a step; answers come in the order of the requests."""
        with contextlib.suppress(ConnectionError):  # the answer will tell
            self._socket.sendall(STEP.pack(step))

    def check(self) -> None:
        """Ask the system whether the process still runs.

        Raises:
            InputError: if it has ended.
        """
        if not self._process.is_alive():
            raise InputError(self._epitaph())

    def answer(self) -> Any:
        """Wait for the next answer.

        Raises:
            InputError: if the process has ended, or its answer cannot be taken.
            Exception: what `load` raised.
        """
        try:
            value = transfer.receive(self._socket)
        except EOFError:
            raise InputError(self._epitaph()) from None
        except OSError as error:
            raise _not_handed_over(error) from None
        if isinstance(value, _Failure):
            raise value.error
        return value

    def _epitaph(self) -> str:
        self._process.join(1)
        code = self._process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"a loading process {how}; if memory ran out, {self._relief}"


def answers(workers: list[Worker], steps: Sequence[int]) -> Iterator[Any]:
    """Ask the workers in turn, and take their answers in the same turn.

    Raises:
        InputError: if a worker ended or cannot hand its answer over.
        Exception: what a worker's `load` raised.
    """
    requests = zip(cycle(workers), steps, strict=False)
    asked: deque[Worker] = deque()

    def ask(count: int) -> None:
        for worker, step in islice(requests, count):
            worker.ask(step)
            asked.append(worker)

    ask(AHEAD * len(workers))
    while asked:
        for worker in workers:  # those, too, whose turn comes some long steps later
            worker.check()
        answer = asked.popleft().answer()
        ask(1)
        yield answer


class _Failure:
    """An exception on its way to the main process, with its traceback as a note."""

    def __init__(self, error: Exception) -> None:
        if not isinstance(error, InputError):
            error.add_note("In a loading process:\n" + "".join(traceback.format_exception(error)))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError("".join(traceback.format_exception(error)))
        self.error = error


def _serve(requests: socket.socket, parents: socket.socket, load: Callable[[int], object]) -> None:
    """What the process does until nobody is at the other end."""
    parents.close()
    torch.set_num_threads(1)
    # A full collection would write to every record, and so copy the whole data set into the worker.
    gc.freeze()
    with contextlib.suppress(ConnectionError):
        while message := requests.recv(STEP.size, socket.MSG_WAITALL):
            _reply(requests, load, *STEP.unpack(message))
    os._exit(0)  # what Python does at its end is the main process's to do


def _reply(requests: socket.socket, load: Callable[[int], object], step: int) -> None:
    try:
        _hand_over(requests, load(step))
    except ConnectionError:
        raise
    except Exception as error:
        transfer.send(requests, _Failure(error))


def _hand_over(requests: socket.socket, value: object) -> None:
    try:
        transfer.send(requests, value)
    except ConnectionError:
        raise
    except OSError as error:
        raise _not_handed_over(error) from None


def _not_handed_over(error: OSError) -> InputError:
    return InputError(
        f"a batch cannot be handed over by the process that loaded it ({error.strerror or error}); "
        "lower --train.batch-size, raise the limits that `ulimit -a` shows, or load in the main "
        "process by --data.num-workers 0"
    )


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Signals wait while a process is forked, which keeps them blocked for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(process: BaseProcess, connection: socket.socket) -> None:
    connection.close()
    process.kill()
    process.join()
