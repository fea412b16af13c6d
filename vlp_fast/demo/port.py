"""The place where a page is: a port of this machine that no other machine reaches."""

from __future__ import annotations

import errno
import socket

from vlp_fast.errors import InputError

HOST = "127.0.0.1"
LAST = 65_535


def listen(port: int) -> socket.socket:
    """Take a port, so that nobody else does while models are loaded.

    Args:
        port: its number; 0 for any that is free.

    Raises:
        InputError: if it is in use, or the system keeps it for others.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # those that were left a moment ago
    try:
        taken.bind((HOST, port))
        taken.listen()
    except OSError as error:
        taken.close()
        in_use = error.errno == errno.EADDRINUSE
        reason = "is in use" if in_use else f"cannot be taken ({error.strerror})"
        raise InputError(f"--port {port}: {reason}; give another one, or 0 for any") from None
    return taken


def address(taken: socket.socket) -> str:
    """Of the page, for a browser."""
    return f"http://{HOST}:{taken.getsockname()[1]}"
