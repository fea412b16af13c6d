"""What a reader looked at: files and folders, by which one can tell whether it would read the same.

Readers tell it where they look (`saw_file`, `saw_folder`); nobody listens but within `noting`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

FileMark = list[int] | None
"""Size in bytes and time of change in ns; None where there is no such file."""


@dataclass
class Consulted:
    """Files and folders, by their paths.

    Attributes:
        files: mark of each that was opened.
        present: of others, whether they are there.
        digests: of those that were read whole.
        folders: a digest of the names in each.
        read: bytes that were read whole.
    """

    files: dict[str, FileMark] = field(default_factory=dict)
    present: dict[str, bool] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    read: int = 0

    def words(self) -> dict[str, Any]:
        """For json."""
        return vars(self)

    def is_as_it_was(self) -> bool:
        """Whether a reader would find the same.

        A file of another time of change but of the same size is read: it may be a copy.
        """
        found = all(Path(path).is_file() == was for path, was in self.present.items())
        return (
            found
            and all(map(self._is_same_file, self.files))
            and all(
                _names_digest(_names(Path(path))) == digest for path, digest in self.folders.items()
            )
        )

    def _is_same_file(self, path: str) -> bool:
        before, now = self.files[path], _mark(Path(path))
        if before == now:
            return True
        if not before or not now or before[0] != now[0] or path not in self.digests:
            return False
        return digest_of(Path(path).read_bytes()) == self.digests[path]


_LISTENER: ContextVar[Consulted | None] = ContextVar("listener", default=None)


@contextmanager
def noting() -> Iterator[Consulted]:
    """Within this context all that readers look at is noted."""
    noted = Consulted()
    token = _LISTENER.set(noted)
    try:
        yield noted
    finally:
        _LISTENER.reset(token)


def saw_name(path: Path, is_there: bool) -> None:
    """Note whether a file is there, whatever it holds."""
    noted = _LISTENER.get()
    if noted is not None:
        noted.present[absolute_name(path)] = is_there


def saw_file(path: object, content: bytes | None = None) -> None:
    """Note a file, or that it is not there.

    Args:
        path: of it.
        content: all of it, where it was read whole.
    """
    noted = _LISTENER.get()
    if noted is None or not isinstance(path, Path):
        return
    absolute = absolute_name(path)
    # As it was when it was first looked at: whoever changes it after that has not been read.
    noted.files.setdefault(absolute, _mark(path))
    if content is not None:
        saw_digest(path, digest_of(content), len(content))


def saw_digest(path: Path, digest: str, size: int) -> None:
    """Note what `digest_of` is of a file that was read to its end, of `size` bytes."""
    noted = _LISTENER.get()
    if noted is not None:
        noted.digests[absolute_name(path)] = digest
        noted.read += size


def saw_folder(path: Path, names: Iterable[str]) -> None:
    """Note a folder with the names in it; none if it is not there."""
    noted = _LISTENER.get()
    if noted is not None:
        noted.folders[absolute_name(path)] = _names_digest(names)


def absolute_name(path: Path) -> str:
    """From the root of the file system on; links stay links, and in no folder it stays as it is."""
    try:
        return os.path.abspath(path)  # noqa: PTH100
    except OSError:
        return str(path)


def digest_of(content: bytes) -> str:
    """Of all bytes of a file."""
    digest = new_digest()
    digest.update(content)
    return digest.hexdigest()


def new_digest() -> blake2b:
    """What `digest_of` makes of all bytes, to be told them in parts."""
    return blake2b(digest_size=16)


def _mark(path: Path) -> FileMark:
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return [state.st_size, state.st_mtime_ns]


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 - names are all that is needed
    except (OSError, ValueError):
        return []


def _names_digest(names: Iterable[str]) -> str:
    return digest_of("\0".join(sorted(names)).encode(errors="surrogatepass"))
