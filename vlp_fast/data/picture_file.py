"""A picture's file, wherever its bytes lie: in a folder by itself, or with others in a shard."""

from __future__ import annotations

from typing import BinaryIO, Literal, Protocol

import numpy as np

LARGEST = 2**30
"""Bytes of a picture; `header.opened` refuses files of more, whose bytes nobody should hold."""


class FileState(Protocol):
    """What is asked of a file before it is opened."""

    @property
    def st_mode(self) -> int:
        """Its kind, as the system numbers them."""

    @property
    def st_size(self) -> int:
        """Bytes."""


class PictureFile(Protocol):
    """What the readers of pictures need of a file: a `Path` has it, and so has part of a shard.

    Files are equal, and have the same hash, if they are the same file; `str` names one in messages.
    """

    @property
    def name(self) -> str:
        """Its name, without folders."""

    @property
    def parent(self) -> object:
        """The folder or shard that holds it, for messages."""

    def stat(self) -> FileState:
        """Its kind and size; raises OSError if there is none."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open it for reading; every call gives a stream with a position of its own."""


def content(file: BinaryIO) -> np.ndarray:
    """All bytes of an opened file from its beginning, (N,) uint8, writable, N <= LARGEST."""
    file.seek(0)
    return np.frombuffer(bytearray(file.read(LARGEST)), dtype=np.uint8)
