"""Folders and files of a data set: what is not there is no error, what the system refuses is."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from vlp_fast.data.printable import printable
from vlp_fast.data.sources.zipped import KINDS, opened_member, zipped_in
from vlp_fast.data.store.consulted import saw_file, saw_folder, saw_name
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
        names = frozenset(os.listdir(folder))  # noqa: PTH208 - names are all that is needed
        saw_folder(folder, names)
        return names
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno in _ABSENT:
            saw_folder(folder, ())
            return frozenset()
        raise InputError(
            f"{printable(folder)}: cannot be listed ({_reason(error)}); {_remedy(error)}"
        ) from None


def is_file(path: Path) -> bool:
    """Whether there is such a file, or one of its name in a zip file of its folder.

    Raises:
        InputError: if the system refuses to tell, with its reason; or a zip file is damaged.
    """
    try:
        is_there = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno in _ABSENT:
            saw_name(path, False)
            return _zipped(path) is not None
        raise InputError(f"{printable(path)}: {_reason(error)}; {_remedy(error)}") from None
    saw_name(path, is_there)
    return is_there


@contextmanager
def opened_file(path: Path) -> Iterator[IO[bytes]]:
    """Open an annotation file, from a zip file of its folder where it is not unpacked.

    Raises:
        OSError: if it is neither there nor in one.
        InputError: if the zip file is damaged.
    """
    saw_file(path)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        found = _zipped(path)
        if found is None:
            raise
        with opened_member(*found) as member:
            yield member
        return
    with file:
        yield file


def annotation_files(root: Path, pattern: str) -> list[Path]:
    """Return the annotation files that match, the newest year first, and those of none last.

    Those in zip files come after those that are unpacked, whose names they do not repeat.
    """
    places = [root / folder for folder in FOLDERS]
    found = [
        folder / name
        for folder in places
        for name in sorted(names_in(folder))
        if fnmatchcase(name, pattern) and is_file(folder / name)
    ]
    unpacked = {path.name for path in found}
    found += [
        folder / name
        for folder in places
        for name in sorted(zipped_in(folder, names_in(folder)))
        if fnmatchcase(name, pattern) and name not in unpacked
    ]
    return sorted(found, key=year, reverse=True)


def annotation_file(root: Path, *names: str) -> Path:
    """Return the first of the files that is in the root or in `annotations/`; the first if none.

    One that is unpacked comes before any in a zip file.
    """
    candidates = [root / folder / name for name in names for folder in FOLDERS]
    unpacked = (path for path in candidates if is_file(path) and path.exists())
    return next(unpacked, next(filter(is_file, candidates), candidates[0]))


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


def _zipped(path: Path) -> tuple[Path, str] | None:
    """The zip file that a file is in, and its name there."""
    if path.suffix not in KINDS:
        return None
    try:
        names = names_in(path.parent)
    except InputError:
        return None
    return zipped_in(path.parent, names).get(path.name)
