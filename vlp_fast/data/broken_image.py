"""The one error of images that cannot be shown, and the other one of memory that runs out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from vlp_fast.data.picture_file import PictureFile
from vlp_fast.data.printable import printable
from vlp_fast.errors import InputError


class BrokenImage(InputError):
    """An image file that cannot be shown; the message names the file and the reason."""


class TooLargeImage(BrokenImage):
    """An image file whose header declares more pixels than are decoded."""


@contextmanager
def memory_for(path: PictureFile) -> Iterator[None]:
    """Say of which image it was that memory ran out while it was decoded, turned or resized.

    Raises:
        InputError: in place of the errors with which Python, Pillow and torch say so. No
            `BrokenImage`, or what a run shows would depend on the memory that happens to be free.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"{printable(path)}: there is not enough memory for this image; lower "
            "--data.num-workers, --data.longer or --data.max-pixels"
        ) from None


def is_out_of_memory(error: Exception) -> bool:
    """Python raises MemoryError; Pillow's decoders and torch say it in words."""
    said = isinstance(error, OSError | RuntimeError) and (
        "out of memory" in str(error) or "allocate memory" in str(error)
    )
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or said or refused
