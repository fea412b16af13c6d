"""Archives unpacked: files and folders only, within one folder, and no more than fits.

Everything is unpacked beside, and moved to its place when all of it is there.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from vlp_fast.data.archive_damage import TAR_DAMAGE, ZIP_DAMAGE, check_readable
from vlp_fast.data.fetch.tar_members import Refused, opened_tar
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError
from vlp_fast.whole_file import write_whole

LARGEST = 2**38
"""Bytes that an archive may become."""
MOST = 5_000_000
"""Files and folders that one may hold."""
BLOCK = 2**20
Member = tuple[str, int, IO[bytes] | None]
"""A safe name, the size, and the content of a file; None of a folder."""


class BadArchive(InputError):
    """An archive that is damaged or harmful; another time it is the same."""


def unpack(
    archive: Path,
    folder: Path,
    *,
    largest: int = LARGEST,
    tell: Callable[[int], object] = lambda size: None,
) -> int:
    """Unpack a zip or tar file.

    Args:
        archive: the file.
        folder: to unpack into; files of the same names are replaced.
        largest: bytes of all files together.
        tell: is told the bytes that are written, now and then.

    Returns:
        How many files there were.

    Raises:
        BadArchive: if it is damaged, would write outside of the folder, holds links or devices, or
            becomes too large. Nothing of it is in its place then.
        InputError: if it holds a file where there is a folder, or the other way round.
        OSError: if it does not fit on the disk, or cannot be written.
    """
    beside = folder / f".{archive.name}.unpacking"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        count = _unpack(archive, beside, largest, tell)
        _move(beside, folder)
    except (*ZIP_DAMAGE, *TAR_DAMAGE) as error:
        raise BadArchive(
            f"{printable(archive)}: cannot be unpacked ({printable(error)}); download it again"
        ) from None
    except Refused as error:
        raise BadArchive(
            f"{printable(archive)}: is not unpacked, for {error}; do not trust where it came from"
        ) from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(
            f"{printable(archive)}: cannot be unpacked into {printable(folder)} "
            f"({printable(error)}); two files, or a file and a folder, have one name"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return count


def unpacked_size(archive: Path) -> int | None:
    """Bytes that a zip file says it becomes; None of others, or if it is damaged."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            return sum(info.file_size for info in zipped.infolist())
    except ZIP_DAMAGE:
        return None


def _unpack(archive: Path, beside: Path, largest: int, tell: Callable[[int], object]) -> int:
    beside.mkdir()
    free = shutil.disk_usage(beside).free
    _check_room(unpacked_size(archive) or 0, largest, free, beside)
    count = members = total = 0
    for name, size, file in _members(archive):
        members, total = members + 1, total + size
        if members > MOST:
            raise Refused(f"it holds more than {MOST:,} files and folders")
        _check_room(total, largest, free, beside)
        if file is None:
            continue
        target = beside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            _copy(file, out, size, name, tell)
        count += 1
    return count


def _check_room(size: int, largest: int, free: int, beside: Path) -> None:
    if size > largest:
        raise Refused(f"it becomes more than {largest:,} bytes")
    if size > free:
        lack = f"{os.strerror(errno.ENOSPC)} for {size:,} bytes more"
        raise OSError(errno.ENOSPC, lack, str(beside.parent))


def _members(archive: Path) -> Iterator[Member]:
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
        return
    with opened_tar(archive) as members:
        for info, content in members:
            if not info.isreg() and not info.isdir():
                raise Refused(f"{printable(info.name)} is a link or a device")
            yield _safe(info.name), info.size, content


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"{printable(info.filename)} is a link or a device")
            name = _safe(info.filename)
            if info.is_dir():
                yield name, 0, None
            else:
                check_readable(info)
                with zipped.open(info) as file:
                    yield name, info.file_size, file


def _safe(name: str) -> str:
    """A name that leads nowhere else, whatever system reads it."""
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if not parts or name.startswith("/") or windows.anchor or ".." in (*parts, *windows.parts):
        raise Refused(f"{printable(name)} leads out of the folder")
    if "\\" in name or "\0" in name:
        raise Refused(f"{printable(name)} is no name of a file")
    return name


def _copy(
    file: IO[bytes], out: IO[bytes], size: int, name: str, tell: Callable[[int], object]
) -> None:
    """Copy what was declared; an archive may hold more, or less."""
    left = size
    while block := file.read(min(BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            break
        out.write(block)
        tell(len(block))
    if left:
        raise Refused(f"{printable(name)} has another size than declared")


def _move(beside: Path, folder: Path) -> None:
    for path in sorted(beside.rglob("*")):
        target = folder / path.relative_to(beside)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            _move_file(path, target)


def _move_file(path: Path, target: Path) -> None:
    """Rename, or copy where a folder is a link to another disk."""
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        write_whole(target, partial(shutil.copy2, path))
