"""Calls to the system that fail, or are the last ones of a process, for tests of what writes."""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vlp_fast.engine import checkpoint as module

IO = OSError(errno.EIO, os.strerror(errno.EIO))
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS))
CALLS = ("open", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "scandir", "link")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and no call is made after it."""


class Faults:
    """Counts calls to the system, and spoils the one of a number, or all from there on.

    Args:
        number: which.
        error: what it raises.
        is_lasting: whether the later ones do, too.
    """

    def __init__(self, number: int, error: BaseException, *, is_lasting: bool) -> None:
        self.count = 0
        self._number, self._error, self._is_lasting = number, error, is_lasting

    @contextlib.contextmanager
    def injected(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            save_file = module.save_file
            patch.setattr(os, "fsync", lambda descriptor: None)
            for name in CALLS:
                patch.setattr(os, name, self._spoilt(getattr(os, name)))
            patch.setattr(io, "open", self._spoilt(io.open))
            patch.setattr(module, "save_file", self._spoilt(save_file, _write_half(save_file)))
            yield

    def _spoilt(
        self, call: Callable[..., Any], half: Callable[..., Any] = lambda *_, **__: None
    ) -> Callable[..., Any]:
        def counted(*words: Any, **named: Any) -> Any:
            self.count += 1
            passed = self.count - 1 - self._number
            if passed == 0:
                half(*words, **named)
            if passed == 0 or (passed > 0 and self._is_lasting):
                raise self._error
            return call(*words, **named)

        return counted


def _write_half(save_file: Callable[..., None]) -> Callable[..., None]:
    def write(values: Any, path: Path) -> None:
        save_file(values, path)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)

    return write
