"""The pictures of a packed data set: found by name in the index, read by offset from the shards.

A name that a folder holds too is the folder's: what was put there later counts.
"""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from vlp_fast.data.printable import printable
from vlp_fast.data.store.shard import LocalShard, Shard, remote_shard
from vlp_fast.data.store.shard_index import INDEX, ShardIndex, read_index
from vlp_fast.errors import InputError

ELSEWHERE = "shards.url"
"""A file of one line: the URL below which the shards are, where they are not beside the index."""


class State(NamedTuple):
    """As `FileState`."""

    st_mode: int
    st_size: int


@dataclass(frozen=True)
class PackedPicture:
    """A `PictureFile` in a shard.

    Attributes:
        parent: the shard.
        offset: byte at which it begins.
        size: bytes.
        sha256: of its bytes, when it was packed.
        full_name: with folders, relative to the data set's.
    """

    parent: Shard
    offset: int
    size: int
    sha256: bytes
    full_name: str

    def __str__(self) -> str:
        return f"{self.parent}/{self.full_name}"

    @property
    def name(self) -> str:
        """Its name, without folders."""
        return self.full_name.rpartition("/")[2]

    def stat(self) -> State:
        """A regular file, of this size."""
        return State(stat.S_IFREG, self.size)

    def open(self, mode: Literal["rb"] = "rb", /) -> BinaryIO:
        """Read it whole, in one request; 0.13 ms of 160 kB are its hash.

        Raises:
            OSError: if the shard cannot be read, ends early or has changed since it was packed.
        """
        data = self.parent.read(self.offset, self.size)
        if len(data) < self.size:
            raise OSError(f"{self.parent} ends before this picture; copy or pack it again")
        if hashlib.sha256(data).digest() != self.sha256:
            raise OSError(
                f"{self.parent} has other bytes here than were packed; copy or pack it again"
            )
        return io.BytesIO(data)


class PackedPictures:
    """The pictures in the shards of a data set; none where it has no index.

    Args:
        root: folder of the data set, or of one that was packed with the folder around it.

    Raises:
        InputError: if the index is damaged, or a shard is not there or of another length.
    """

    def __init__(self, root: Path) -> None:
        self._index: ShardIndex | None = None
        self._shards: list[Shard] = []
        self._inside = ""
        for folder, inside in ((root, ""), (root.parent, f"{root.name}/")):
            try:
                self._index, names = read_index(folder / INDEX)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise InputError(
                    f"{printable(folder / INDEX)}: {error.strerror}; make it readable"
                ) from None
            self._shards = _shards(folder, names, self._index.shard_sizes(len(names)))
            self._inside = inside
            return

    def names(self, folder: str) -> frozenset[str]:
        """Names of the pictures in a folder, which is relative to the data set's ("." for it)."""
        inside = self._inside + ("" if folder == "." else folder)
        return frozenset(self._folders.get(inside.rstrip("/"), ()))

    def find(self, full_name: str) -> PackedPicture | None:
        """The picture of a name with folders."""
        row = self._row(full_name)
        if row is None or self._index is None:
            return None
        return PackedPicture(
            self._shards[self._index.shard[row]],
            int(self._index.offset[row]),
            int(self._index.size[row]),
            self._index.sha256[row].tobytes(),
            full_name,
        )

    def stored_size(self, full_name: str) -> tuple[int, int]:
        """The (width, height) of a picture's raster; (1, 1) where its header cannot be read."""
        row = self._row(full_name)
        if row is None or self._index is None:
            raise KeyError(full_name)
        return max(int(self._index.width[row]), 1), max(int(self._index.height[row]), 1)

    def _row(self, full_name: str) -> int | None:
        folder, _, name = (self._inside + full_name).rpartition("/")
        return self._folders.get(folder, {}).get(name)

    @cached_property
    def _folders(self) -> Mapping[str, Mapping[str, int]]:
        """Of each folder, the row of each name."""
        folders: dict[str, dict[str, int]] = {}
        for row, full_name in enumerate(self._index.names if self._index else ()):
            folder, _, name = full_name.rpartition("/")
            folders.setdefault(folder, {})[name] = row
        return folders


def _shards(root: Path, names: list[str], sizes: list[int]) -> list[Shard]:
    try:
        url = (root / ELSEWHERE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return _local_shards(root, names, sizes)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not UTF-8 text"
        raise InputError(
            f"{printable(root / ELSEWHERE)}: {reason}; write one URL into it"
        ) from None
    return [remote_shard(url, name) for name in names]


def _local_shards(root: Path, names: list[str], sizes: list[int]) -> list[Shard]:
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise InputError(
            f"{printable(root)}: {len(missing)} of {len(names)} shards are not there, the first is "
            f"{printable(missing[0])}; copy them here, write the URL below which they are into "
            f"{printable(root / ELSEWHERE)}, or give the command that packed them again"
        )
    for name, size in zip(names, sizes, strict=True):
        found = (root / name).stat().st_size
        if found != size:
            raise InputError(
                f"{printable(root / name)}: has {found:,} bytes, and the index is of a shard of "
                f"{size:,}; copy both again, or give the command that packed them again"
            )
    return [LocalShard(root / name) for name in names]
