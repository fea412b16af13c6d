"""Standard output and error as the command line finds them: closed, full, or of few characters."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

from vlp_fast.data.printable import printable


def prepare_output() -> None:
    """Make both streams take whatever is printed.

    What an encoding cannot write (ASCII, cp1252) is escaped. A stream that was closed when Python
    began is None, to which nothing could be printed.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 it stays open
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def complain(text: str) -> None:
    """Print one line to standard error, if that is possible."""
    with contextlib.suppress(OSError):
        print(f"vlp-fast: {text}", file=sys.stderr, flush=True)


class OutputFailure(OSError):
    """Standard output cannot be written, and nothing of what failed is waiting there any more."""


def flush_output() -> None:
    """Write what is waiting, for which there may be no second time.

    Raises:
        BrokenPipeError: if the reader has left.
        OutputFailure: if it cannot be written.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputFailure(*error.args) from None


def output_failure(error: OSError) -> OSError | None:
    """Return why standard output cannot be written, if that is what an error came from."""
    try:
        sys.stdout.flush()  # what could not be written is still waiting
    except OSError as reason:
        return reason
    return error if isinstance(error, BrokenPipeError | OutputFailure) else None


def forget_output() -> None:
    """What is still waiting to be written must not fail again when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def system_line(error: OSError) -> str:
    """What the system refused, in one line."""
    names = [printable(n) for n in (error.filename, error.filename2) if n is not None]
    lines = str(error).split("\n")  # of a worker process: its traceback, and then the reason
    reason = error.strerror or printable(lines[-1] or lines[0]) or type(error).__name__
    return f"{' and '.join(names)}: {reason}" if names else reason
