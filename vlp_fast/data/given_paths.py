"""Paths that a person gives, looked at before anything is read or imported (torch-free)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError


def check_root(root: Path | None) -> Path:
    """Return a data set's folder, if it is given, there and can be listed.

    Raises:
        InputError: with the system's reason.
    """
    if root is None:
        raise InputError(
            "--data.root is missing; give a folder of images and annotations, or draw one: "
            "`vlp-fast data make-world runs/world`, then --data.root runs/world"
        )
    try:
        os.scandir(root).close()
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise InputError(
            f"{printable(root)}: {_reason(root, error, 'folder')}; give the folder of the data "
            "set with --data.root"
        ) from None
    return root


def check_file(path: Path, option: str, expected: str) -> None:
    """Refuse a file that is not there, is none or cannot be opened.

    Args:
        path: the file.
        option: the option that gives it.
        expected: what it should be, as in "a WordPiece vocab.txt".

    Raises:
        InputError: with the system's reason.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{printable(path)}: {_reason(path, error, 'file')}; {option} takes {expected}"
        ) from None


def _reason(path: Path, error: OSError | ValueError, expected: str) -> str:
    """Why a path is none, in the words that say most."""
    if isinstance(error, FileNotFoundError):
        return f"no such {expected}"
    if isinstance(error, NotADirectoryError):
        return "is a file, not a folder" if os.path.lexists(path) else "is below a file"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a file"
    return getattr(error, "strerror", None) or str(error)
