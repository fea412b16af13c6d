"""Decoded images in memory, filled by use and shared by all worker processes.

The memory is one anonymous mapping, made before the workers are forked. Anonymous, because named
shared memory is often limited to 64 MB in containers; pages that are never written cost nothing.
An image is written whole before its flag is set, and two workers that write the same image write
the same bytes, so no lock is needed.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlp_fast.data.header import MAX_PIXELS
from vlp_fast.data.printable import printable
from vlp_fast.data.record import Record
from vlp_fast.data.record_table import RecordTable
from vlp_fast.errors import InputError

SHARE = 4
"""A cache may take one part in this many of the memory: a run has two, and needs as much again."""
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much of the machine's memory a container may have: cgroups 2, cgroups 1."""


class ImageCache:
    """Room for the upright RGB pixels of every record at its annotated size.

    Args:
        records: those of the data set; images of another size than annotated are not kept.
        max_pixels: records annotated with more get no room; such images are not decoded anyway.

    Raises:
        InputError: if the images would take more than a quarter of the memory (of the machine, or
            of the container where that is less). A quarter, because a run may have one cache for
            training and another for the held-out images. Also if the system does not give it.
    """

    def __init__(self, records: Sequence[Record], *, max_pixels: int = MAX_PIXELS) -> None:
        sizes = RecordTable.of(records).sizes.tolist()
        self._sizes = [_room(height, width, max_pixels) for width, height in sizes]
        _check_memory(records, self._sizes)
        self._allocate()

    def get(self, index: int) -> Tensor | None:
        """Return the (3, H, W) uint8 pixels of a record (not to be written), or None."""
        if not self._is_filled[index]:
            return None
        return torch.from_numpy(self._place(index)).permute(2, 0, 1)

    def put(self, index: int, pixels: Tensor) -> None:
        """Keep the (3, H, W) uint8 pixels of a record that has room, at its annotated size."""
        self._place(index)[:] = pixels.permute(1, 2, 0).numpy()
        self._is_filled[index] = True

    def _place(self, index: int) -> np.ndarray:
        height, width = self._sizes[index]
        start, stop = self._starts[index], self._starts[index + 1]
        return self._bytes[start:stop].reshape(height, width, 3)

    def _allocate(self) -> None:
        lengths = [height * width * 3 for height, width in self._sizes]
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        total = int(self._starts[-1])
        memory = _mapping(total + len(lengths) + 1)
        self._bytes = np.frombuffer(memory, dtype=np.uint8, count=total)
        self._is_filled = np.frombuffer(memory, dtype=np.bool_, count=len(lengths), offset=total)


def _mapping(length: int) -> mmap.mmap:
    """Anonymous memory; a system without overcommitment gives less than it has."""
    try:
        return mmap.mmap(-1, length)
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"--data.cache: the system gives no {length / 2**30:.1f} GiB of memory "
            f"({printable(error)}); use --data.no-cache"
        ) from None


def _room(height: int, width: int, max_pixels: int) -> tuple[int, int]:
    """The (height, width) that is kept free for a record."""
    return (height, width) if height * width <= max_pixels else (0, 0)


def _check_memory(records: Sequence[Record], sizes: Sequence[tuple[int, int]]) -> None:
    # In Python's integers: damaged annotations name sizes whose product no array can hold.
    needed = sum(height * width * 3 for height, width in sizes)
    available = _memory()
    if needed > available // SHARE:
        index = max(range(len(sizes)), key=lambda i: sizes[i][0] * sizes[i][1])
        height, width = sizes[index]
        raise InputError(
            f"--data.cache: the decoded images take {needed / 2**30:.1f} GiB, more than a quarter "
            f"of the {available / 2**30:.1f} GiB of memory (the largest, "
            f"{printable(records[index].path)}, is annotated as {width}x{height}); repair its size "
            "or use --data.no-cache"
        )


def _memory() -> int:
    """Bytes that this process may have: of the machine, or less where its container has less."""
    return min(_installed(), *(_limit(path) for path in CONTAINER_LIMITS))


def _installed() -> int:
    """Bytes of the machine, or of its address space where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _limit(path: Path) -> int:
    """The number in a file; no limit where there is no such file, or it says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return sys.maxsize
