"""Paths that a person gives, looked at before anything is read or imported (torch-free)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from vlp_fast.data.config import DataConfig
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError


def check_roots(data: DataConfig) -> tuple[Path, ...]:
    """Return the folders of a run's data sets, if there are any and each can be listed.

    Raises:
        InputError: with the system's reason; if one is given twice; or if weights, or the place of
            Karpathy's file, are of other folders.
    """
    roots = data.root
    if not roots:
        raise InputError(
            "--data.root is missing; give a folder of images and annotations, or draw one: "
            "`vlp-fast data make-world runs/world`, then --data.root runs/world"
        )
    places = [check_root(root).resolve() for root in roots]
    for place, root in enumerate(roots):
        if places[place] in places[:place]:
            raise InputError(
                f"{printable(root)}: is given twice with --data.root; give each data set once, and "
                "shares of an epoch with --data.weights"
            )
    if data.weights and len(data.weights) != len(roots):
        raise InputError(
            f"--data.weights: received {len(data.weights)} for {len(roots)} data sets "
            f"({shown_roots(roots)}); give one for each --data.root, in their order"
        )
    file = data.karpathy_file
    if file and len(roots) > 1 and not any(lies_in(file, root) for root in roots):
        raise InputError(
            f"{printable(file)}: --data.karpathy-file lies in none of {shown_roots(roots)}; with "
            "several data sets, put it into the folder of its own"
        )
    return roots


def only_root(data: DataConfig) -> Path:
    """Return the folder of a run that reads one data set, as it is.

    Raises:
        InputError: as `check_roots`; if there are several; or if images are to be left out.
    """
    roots = check_roots(data)
    if len(roots) > 1:
        raise InputError(
            f"--data.root: received {len(roots)} data sets ({shown_roots(roots)}), and this task "
            "learns from one; give one, several are for pre-training"
        )
    if data.exclude:
        raise InputError(
            f"--data.exclude {printable(data.exclude)}: this task leaves no images out; that is "
            "for pre-training"
        )
    return roots[0]


def shown_roots(roots: Sequence[Path]) -> str:
    """The folders, for a message."""
    return " + ".join(map(printable, roots))


def lies_in(file: Path, root: Path) -> bool:
    """Whether a file is in a folder or below it."""
    return file.resolve().is_relative_to(root.resolve())


def check_root(root: Path, option: str = "--data.root", what: str = "of the data set") -> Path:
    """Return a folder, if it is there and can be listed.

    Args:
        root: the folder.
        option: what gives it.
        what: it is the folder of.

    Raises:
        InputError: with the system's reason.
    """
    try:
        os.scandir(root).close()
    except (OSError, ValueError) as error:  # ValueError: a NUL
        raise InputError(
            f"{printable(root)}: {_reason(root, error, 'folder')}; give the folder {what} with "
            f"{option}"
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


def check_output(path: Path, option: str, *, is_kept: bool = False) -> None:
    """Refuse a file that could not be written, before the work that it is to hold.

    Args:
        path: the file to write.
        option: what gives it, for the message.
        is_kept: whether one that is there already is never replaced.

    Raises:
        InputError: if it is a folder, a device or a pipe, its folder is not there or may not be
            written to, or it is there and to be kept.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError
        os.scandir(path.parent).close()
    except (OSError, ValueError) as error:
        where = path if isinstance(error, IsADirectoryError) else path.parent
        raise InputError(
            f"{printable(where)}: {_reason(where, error, 'folder')}; {option} is a file to write"
        ) from None
    if path.exists() and not path.is_file():  # it would be replaced by a file
        raise InputError(f"{printable(path)}: is a device or a pipe; {option} is a file to write")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{printable(path.parent)}: may not be written to; give another {option}")
    if is_kept and os.path.lexists(path):
        raise InputError(f"{printable(path)}: is there already; delete it or give another {option}")


def _reason(path: Path, error: OSError | ValueError, expected: str) -> str:
    """Why a path is none, in the words that say most."""
    if isinstance(error, FileNotFoundError):
        return f"no such {expected}"
    if isinstance(error, NotADirectoryError):
        return "is a file, not a folder" if os.path.lexists(path) else "is below a file"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a file"
    return getattr(error, "strerror", None) or str(error)
