"""Where the bytes of a shard are: in a file, or behind a URL that fsspec opens."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError

MOST_OPEN = 256
"""Shards that stay open; a process may usually have 1,024 files."""


class Shard(Protocol):
    """Bytes that are read by their place, by any number of threads and forked processes at once."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from a place on; raises OSError."""


@dataclass(frozen=True)
class LocalShard:
    """A shard in a file; no thread moves the place at which another one reads."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, offset: int, size: int) -> bytes:
        """As `Shard`."""
        if hasattr(os, "pread"):
            opened = _opened(self.path)  # held, so nobody closes it meanwhile
            return os.pread(opened.descriptor, size, offset)
        with self.path.open("rb") as file:  # Windows
            file.seek(offset)
            return file.read(size)


@dataclass(frozen=True)
class RemoteShard:
    """A shard behind a URL."""

    url: str

    def __str__(self) -> str:
        return self.url

    def read(self, offset: int, size: int) -> bytes:
        """As `Shard`."""
        from fsspec.core import url_to_fs

        try:
            # Asked for each time: fsspec keeps file systems, and makes new ones in a new process.
            files, path = url_to_fs(self.url)
            data: bytes = files.cat_file(path, start=offset, end=offset + size)
        except OSError:
            raise
        except Exception as error:  # each kind of storage has errors of its own
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}", self.url) from None
        if len(data) > size:
            raise OSError(
                f"{self.url} sends more than the part that was asked for; serve it by what can "
                "send parts of files (HTTP Range), or copy it here"
            )
        return data


def remote_shard(folder: str, name: str) -> RemoteShard:
    """Return the shard of a name below a URL.

    Raises:
        InputError: if nothing is installed that opens the URL.
    """
    url = f"{folder.rstrip('/')}/{name}"
    if find_spec("fsspec") is None:
        raise InputError(
            f"{printable(url)}: is read by fsspec, which is not installed; install it, or copy the "
            "shards into the folder of the data set"
        )
    from fsspec.core import url_to_fs

    try:
        url_to_fs(url)
    except Exception as error:  # an unknown protocol, or one whose package is not installed
        raise InputError(
            f"{printable(url)}: cannot be opened by fsspec ({printable(error)}); install what it "
            "asks for, or copy the shards into the folder of the data set"
        ) from None
    return RemoteShard(url)


class _Opened:
    """A descriptor that is closed when nobody holds this any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(maxsize=MOST_OPEN)
def _opened(path: Path) -> _Opened:
    """A file that stays open: opening one asks the server of a network file system each time."""
    return _Opened(path)
