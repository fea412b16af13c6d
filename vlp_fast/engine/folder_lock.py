"""One process a folder that is written, by a lock that ends with the process, however that ends."""

from __future__ import annotations

import contextlib
import os
from multiprocessing.util import register_after_fork
from pathlib import Path

from vlp_fast.errors import InputError

try:
    import fcntl
except ImportError:  # Windows, which does without
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """Within this context no other process works in the folder.

    The folder is created, and removed again if nothing was written to it: a refused run leaves
    nothing. What is locked is a descriptor of the folder itself, so no file tells of it.

    Args:
        folder: the run folder, or another one.
        work: what processes do there, as in "trains in".
        option: what gives the folder, for messages.
    """

    def __init__(self, folder: Path, *, work: str = "trains in", option: str = "--run-dir") -> None:
        self._folder = folder
        self._work, self._option = work, option
        self._created: list[Path] = []
        self._descriptor: int | None = None

    def __enter__(self) -> FolderLock:
        """Create and lock.

        Raises:
            InputError: if another process has the lock, or the folder cannot be created.
        """
        try:
            self._create()
        except OSError as error:
            self._leave()
            raise InputError(
                f"{self._folder}: cannot be written ({error.strerror}); give another {self._option}"
            ) from None
        try:
            self._lock()
        except BlockingIOError:
            self._leave()
            raise InputError(
                f"{self._folder}: another process {self._work} it; wait for its end or give "
                f"another {self._option}"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _create(self) -> None:
        folder = self._folder
        self._created = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl is not None:
            self._descriptor = os.open(folder, os.O_RDONLY)

    def _lock(self) -> None:
        if self._descriptor is None:
            return
        # A forked process shares the lock: a loading worker must not keep it past a kill of ours.
        register_after_fork(self, FolderLock._close)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            return  # a file system without locks: NFS has none for folders

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _leave(self) -> None:
        self._close()
        for path in self._created:
            with contextlib.suppress(OSError):
                path.rmdir()  # refuses where something was written
