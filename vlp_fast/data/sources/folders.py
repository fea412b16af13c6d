"""Folders and files of a data set: what is not there is no error, what the system refuses is."""

from __future__ import annotations

import errno
import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

FOLDERS = ("", "annotations")
"""Folders, relative to the root, in which annotation files are looked for."""
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


def names_in(folder: Path) -> frozenset[str]:
    """Return the names of what is in a folder; none if there is no such folder.

    Raises:
        InputError: if the system refuses to list it, with its reason.
    """
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - names are all that is needed
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno in _ABSENT:
            return frozenset()
        raise InputError(
            f"{printable(folder)}: cannot be listed ({_reason(error)}); {_remedy(error)}"
        ) from None


def is_file(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        InputError: if the system refuses to tell, with its reason.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno in _ABSENT:
            return False
        raise InputError(f"{printable(path)}: {_reason(error)}; {_remedy(error)}") from None


def annotation_files(root: Path, pattern: str) -> list[Path]:
    """Return the annotation files that match, the newest year first, and those of none last."""
    places = [root / folder for folder in FOLDERS]
    found = [
        folder / name
        for folder in places
        for name in sorted(names_in(folder))
        if fnmatchcase(name, pattern) and is_file(folder / name)
    ]
    return sorted(found, key=year, reverse=True)


def annotation_file(root: Path, *names: str) -> Path:
    """Return the first of the files that is in the root or in `annotations/`; the first if none."""
    candidates = [root / folder / name for name in names for folder in FOLDERS]
    return next((path for path in candidates if is_file(path)), candidates[0])


def year(path: Path) -> str:
    """Digits at the end of a file's name: "2017" of instances_val2017.json."""
    stem = path.stem
    return stem[len(stem.rstrip("0123456789")) :]


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _remedy(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "give yourself the right to read it"
    return "make it readable again"
