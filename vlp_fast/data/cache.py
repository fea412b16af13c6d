"""Decoded images in memory, filled by use and shared by all worker processes.

The memory is one anonymous mapping, made before the workers are forked. Anonymous, because named
shared memory is often limited to 64 MB in containers; pages that are never written cost nothing.
An image is written whole before its flag is set, and two workers that write the same image write
the same bytes, so no lock is needed.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlp_fast.data.records import Record
from vlp_fast.errors import InputError


class ImageCache:
    """Room for the upright RGB pixels of every record at its annotated size.

    Args:
        records: those of the data set; images of another size than annotated are not kept.

    Raises:
        InputError: if the images would take more than half of the machine's memory.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._sizes = [(record.height, record.width) for record in records]
        self._allocate()

    def get(self, index: int) -> Tensor | None:
        """Return the (3, H, W) uint8 pixels of a record (not to be written), or None."""
        if not self._is_filled[index]:
            return None
        return torch.from_numpy(self._place(index)).permute(2, 0, 1)

    def put(self, index: int, pixels: Tensor) -> None:
        """Keep the (3, H, W) uint8 pixels of a record, whose size must be the annotated one."""
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
        _check_memory(total)
        memory = mmap.mmap(-1, total + len(lengths) + 1)
        self._bytes = np.frombuffer(memory, dtype=np.uint8, count=total)
        self._is_filled = np.frombuffer(memory, dtype=np.bool_, count=len(lengths), offset=total)

    def __getstate__(self) -> dict[str, Any]:
        """Where workers are not forked, each has a cache of its own."""
        return {"_sizes": self._sizes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._sizes = state["_sizes"]
        self._allocate()


def _check_memory(needed: int) -> None:
    if not hasattr(os, "sysconf"):
        return
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available // 2:
        raise InputError(
            f"data.cache: the decoded images take {needed / 2**30:.1f} GiB, more than half of the "
            f"{available / 2**30:.1f} GiB of memory; switch it off"
        )
