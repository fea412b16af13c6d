"""Starting the processes of a run on this machine, as torchrun does; torch-free until then."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from vlp_fast.errors import InputError

LAUNCHER = "VLP_FAST_LAUNCHER"
"""In the environment of a process that `launch` has started: the launcher's id."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that this process gets when its parent dies (linux/prctl.h)."""

GRACE = 2.0
"""Seconds that the first of several processes has to say what is wrong."""


def is_first() -> bool:
    """Whether this process speaks for all: alone, or as torchrun has it."""
    return os.environ.get("RANK", "0") == "0"


def is_launched() -> bool:
    """Whether torchrun has started this process."""
    return "WORLD_SIZE" in os.environ


def end_with_launcher() -> None:
    """Let the system end this process, as SIGTERM does, when the one that launched it dies.

    So a run finishes its step and saves it, where its launcher was killed and can tell nobody. On
    Linux; in a process that `launch` has not started, nothing.
    """
    launcher = os.environ.pop(LAUNCHER, "")  # those that this one starts are none of the launcher's
    if not launcher or not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(launcher):  # it has died before it could be watched
        os.kill(os.getpid(), signal.SIGTERM)


def leave(code: int) -> NoReturn:
    """End this process, which has said and written everything.

    One of several ends at once, without the interpreter's clean-up: a thread of gloo that gives a
    tensor back at that moment would abort it (torch 2.11, Python 3.11; rare, on a busy machine).
    Where something is wrong the first one has the word: torchrun, which interrupts all when one has
    ended, hears of the others a little later.
    """
    if is_launched():
        if code and not is_first():
            time.sleep(GRACE)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def check_launched(processes: int, option: str = "--train.processes") -> None:
    """Refuse to start so many processes where others have been started already.

    Args:
        processes: asked for.
        option: that asks for them.

    Raises:
        InputError: if this is one of another number than is asked for.
    """
    started = int(os.environ.get("WORLD_SIZE", processes))
    if processes > 1 and started != processes:
        raise InputError(
            f"{option} {processes}: torchrun, or whoever has set WORLD_SIZE in the "
            f"environment, has started {started}; leave the option out, or unset WORLD_SIZE"
        )


def check_shares(shards: int, processes: int) -> None:
    """Refuse shards that so many processes cannot share evenly.

    Raises:
        InputError: if they cannot.
    """
    if shards % processes:
        raise InputError(
            f"{processes} processes cannot share the {shards} shards of a step evenly; give "
            f"--train.shards a multiple of {processes}, and --train.batch-size accordingly"
        )


def launch(processes: int, words: Sequence[str], say: Callable[[str], object]) -> int:
    """Run a command in so many processes, and wait for their end.

    Args:
        processes: how many.
        words: of the command, behind `vlp-fast`.
        say: gets a line about a process that a signal has ended, which could say nothing itself.

    Returns:
        The exit code of the process that failed first, 0 if none did; 128 and its number, if a
        signal came, which the processes have been told of.
    """
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Torch 2.11 shares a store between the processes and torchrun; one that is started anew reads
    # the addresses of those that are gone (pytorch 135712).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    os.environ[LAUNCHER] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // processes, 1)))
    logging.disable(logging.ERROR)  # of torchrun's part: the processes speak for themselves
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="vlp_fast",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle=",".join(_passed_on()),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "vlp_fast", *words)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            say(_ended(rank, processes, failure.signal_name()))
        return _code(failure.exitcode)
    except SignalException as error:
        return 128 + int(error.sigval)
    finally:
        del os.environ[LAUNCHER]
    return 0


def _passed_on() -> list[str]:
    """Signals that the processes are told of; torchrun would die of SIGUSR1 and leave them behind.

    A hangup that is ignored, as `nohup` has it, stays ignored: the processes, which ignore it too,
    would be killed half a minute after it.
    """
    names = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1"]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        names.remove("SIGHUP")
    return [name for name in names if hasattr(signal, name)]


def _ended(rank: int, processes: int, name: str) -> str:
    why = ", as by a system that is out of memory" if name == "SIGKILL" else ""
    return f"process {rank} of {processes} was ended by {name}{why}"


def _code(exitcode: int) -> int:
    """As a shell has it: 128 and the number of a signal that ended a process."""
    return exitcode if exitcode >= 0 else 128 - exitcode
