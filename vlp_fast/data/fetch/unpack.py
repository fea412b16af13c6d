"""Archives unpacked: files and folders only, within one folder, and no more than fits.

Everything is unpacked beside, and moved to its place when all of it is there.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from vlp_fast.data.archive_damage import TAR_DAMAGE, ZIP_DAMAGE
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

LARGEST = 2**38
"""Bytes that an archive may become."""
MOST = 5_000_000
"""Files that one may hold."""
BLOCK = 2**20
Member = tuple[str, int, IO[bytes]]


class Refused(Exception):
    """Why an archive is harmful."""


def unpack(archive: Path, folder: Path, *, largest: int = LARGEST) -> int:
    """Unpack a zip or tar file.

    Args:
        archive: the file.
        folder: to unpack into; files of the same names are replaced.
        largest: bytes of all files together.

    Returns:
        How many files there were.

    Raises:
        InputError: if the archive is damaged, would write outside of the folder, holds links or
            devices, or becomes too large. Nothing of it is in its place then.
    """
    beside = folder / f".{archive.name}.unpacking"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        count = _unpack(archive, beside, min(largest, shutil.disk_usage(folder).free))
        _move(beside, folder)
    except (*ZIP_DAMAGE, *TAR_DAMAGE) as error:
        raise InputError(
            f"{printable(archive)}: cannot be unpacked ({printable(error)}); download it again"
        ) from None
    except Refused as error:
        raise InputError(
            f"{printable(archive)}: is not unpacked, for {error}; delete it, and do not trust "
            "where it came from"
        ) from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(
            f"{printable(archive)}: cannot be unpacked into {printable(folder)} "
            f"({printable(error)}); two files, or a file and a folder, have one name"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return count


def _unpack(archive: Path, beside: Path, largest: int) -> int:
    beside.mkdir()
    count = total = 0
    for name, size, file in _members(archive):
        count, total = count + 1, total + size
        if total > largest or count > MOST:
            raise Refused(f"becomes more than {largest:,} bytes or {MOST:,} files")
        target = beside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            _copy(file, out, size, name)
    return count


def _members(archive: Path) -> Iterator[Member]:
    """The regular files, each with a safe name, its size and its content."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise Refused(f"{printable(info.filename)} is a link or a device")
                name = _safe(info.filename)
                if not info.is_dir():
                    with zipped.open(info) as file:
                        yield name, info.file_size, file
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isreg() and not member.isdir():
                raise Refused(f"{printable(member.name)} is a link or a device")
            name = _safe(member.name)
            content = tar.extractfile(member)
            if content is not None:
                yield name, member.size, content


def _safe(name: str) -> str:
    """A name that leads nowhere else, whatever system reads it."""
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if not parts or name.startswith("/") or windows.anchor or ".." in (*parts, *windows.parts):
        raise Refused(f"{printable(name)} leads out of the folder")
    if "\\" in name or "\0" in name:
        raise Refused(f"{printable(name)} is no name of a file")
    return name


def _copy(file: IO[bytes], out: IO[bytes], size: int, name: str) -> None:
    """Copy what was declared; an archive may hold more, or less."""
    left = size
    while block := file.read(min(BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            break
        out.write(block)
    if left:
        raise Refused(f"{printable(name)} has another size than declared")


def _move(beside: Path, folder: Path) -> None:
    for path in sorted(beside.rglob("*")):
        target = folder / path.relative_to(beside)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            path.replace(target)
