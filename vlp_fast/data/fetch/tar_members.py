"""Members of a tar file, one after another, with no more of it in memory than a header may need.

Headers of tar declare their own length, and Python reads what they declare: a megabyte of a
compressed file would become as many gigabytes of names.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

LARGEST_HEADER = 2**22
"""Bytes of one member's headers, the names of all links and folders in it included."""
BLOCK = 2**16
OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
"""By the first bytes of a compressed file, what opens it."""


class Refused(Exception):
    """Why an archive is harmful."""


@contextmanager
def opened_tar(archive: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]]:
    """Open a tar file, compressed or not; its members come with their content, None if not a file.

    Raises:
        Refused: of a header that is too large, while members are taken.
        tarfile.TarError: if it is none; and others of TAR_DAMAGE.
    """
    with archive.open("rb") as file:
        magic = file.read(6)
    opener = next((o for start, o in OPENERS.items() if magic.startswith(start)), open)
    with opener(archive, "rb") as content:
        stream = _Stream(content)
        with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
            yield _members(tar, stream)


def _members(
    tar: tarfile.TarFile, stream: _Stream
) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    while True:
        stream.left = LARGEST_HEADER
        member = tar.next()
        stream.left = None if member else LARGEST_HEADER
        if member is None:
            stream.drain()
            return
        tar.members.clear()  # type: ignore[attr-defined]  # Python keeps them all
        yield member, tar.extractfile(member) if member.isreg() else None


class _Stream:
    """A file of which no more is read at once, nor for one header, than is allowed.

    Attributes:
        left: bytes that may still be read; None for any number.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.left: int | None = LARGEST_HEADER

    def read(self, size: int) -> bytes:
        if self.left is not None:
            if not 0 <= size <= self.left:
                raise Refused(f"one of its headers has more than {LARGEST_HEADER:,} bytes")
            self.left -= size
        try:
            return self._file.read(size)
        except OSError as error:
            if error.errno is not None:
                raise
            raise tarfile.ReadError(str(error)) from None  # of damage, in compressed files

    def drain(self) -> None:
        """Read to the end, where compressed files have the checksum of their content."""
        while self.read(BLOCK):
            pass

    def seek(self, place: int) -> int:
        try:
            return self._file.seek(place)
        except OSError as error:
            if error.errno is not None:
                raise
            raise tarfile.ReadError(str(error)) from None

    def tell(self) -> int:
        return self._file.tell()
