"""Values made one ahead of who asks for them, in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def ahead(values: Iterator[T], count: int) -> Iterator[T]:
    """Take `count` values, one ahead of who asks."""
    if count == 0:
        return
    with ThreadPoolExecutor(1, initializer=_start_thread, initargs=_device()) as thread:
        coming = thread.submit(next, values)
        for _ in range(count - 1):
            value = coming.result()
            coming = thread.submit(next, values)
            yield value
        yield coming.result()


def _device() -> tuple[int | None]:
    return (torch.cuda.current_device() if torch.cuda.is_available() else None,)


def _start_thread(device: int | None) -> None:
    torch.set_num_threads(1)  # or it would have OpenMP threads of its own
    if device is not None:
        torch.cuda.set_device(device)  # or pinning would open a context on the first one
