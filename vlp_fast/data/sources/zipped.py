"""Annotation files inside of zip files, as they are published: read without unpacking.

A member counts as lying in the zip file's own folder, whatever folders it has inside; a file that
is there unpacked comes first.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

from vlp_fast.data.archive_damage import ZIP_DAMAGE, check_readable
from vlp_fast.data.printable import printable
from vlp_fast.data.store.consulted import saw_file
from vlp_fast.errors import InputError

LARGEST_ZIP = 2**30
"""Bytes; larger zip files hold pictures, and no annotations."""
LARGEST_FILE = 2**34
"""Bytes of a file in a zip file; none of annotations has more, a harmful one may."""
KINDS = (".json", ".jsonl")

Members = Mapping[str, tuple[Path, str]]
"""By a file's name: the zip file that it is in, and its name there."""


def zipped_in(folder: Path, names: frozenset[str]) -> Members:
    """The annotation files in zip files of a folder, of which these are the names in it.

    Raises:
        InputError: if a zip file is damaged.
    """
    found: dict[str, tuple[Path, str]] = {}
    for name in sorted(name for name in names if name.lower().endswith(".zip")):
        path = folder / name
        saw_file(path)
        try:
            state = path.stat()
        except OSError:
            continue
        if state.st_size <= LARGEST_ZIP:
            for inside in _members(path, state.st_size, state.st_mtime_ns):
                found.setdefault(PurePosixPath(inside).name, (path, inside))
    return found


@contextmanager
def opened_member(path: Path, member: str) -> Iterator[IO[bytes]]:
    """Open a file in a zip file.

    Raises:
        InputError: if it is damaged, encrypted or too large, also while it is read.
    """
    with _told(path, member), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        if info.file_size > LARGEST_FILE:
            raise zipfile.BadZipFile(f"would have {info.file_size:,} bytes")
        check_readable(info)
        file = archive.open(member)
    with file:  # which holds the archive open; what is done with the content is not told of here
        yield io.BufferedReader(_Member(file, path, member))


class _Member(io.RawIOBase):
    """A file in a zip file that tells of its damage in the words of this package."""

    def __init__(self, file: IO[bytes], path: Path, member: str) -> None:
        self._file, self._path, self._member = file, path, member

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _told(self._path, self._member):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _told(path: Path, member: str) -> Iterator[None]:
    try:
        yield
    except ZIP_DAMAGE as error:
        where = f"{printable(path)}: {printable(member)}"
        raise InputError(
            f"{where} cannot be unpacked ({printable(error)}); download it again, or unpack it "
            "yourself"
        ) from None


@lru_cache(maxsize=64)
def _members(path: Path, size: int, changed: int) -> tuple[str, ...]:
    """Names of the annotation files in a zip file of that size and time of change."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except ZIP_DAMAGE as error:
        raise InputError(
            f"{printable(path)}: is no whole zip file ({printable(error)}); download it again, or "
            "delete it where it is unpacked"
        ) from None
    return tuple(
        name
        for name in names
        if name.lower().endswith(KINDS) and not name.startswith("__MACOSX/") and "/." not in name
    )
